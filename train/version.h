#ifndef TRAIN_VERSION_H
#define TRAIN_VERSION_H

#define TRAIN_GPT_VERSION "0.1.0"

/* The source that this program was built from: "9b49b6bdc1", with a tag before it where there is one and "-dirty" after
 * it where files were changed since; without git, "cksum-" and a checksum of the sources. Static storage. */
extern const char *const train_gpt_source;

/* "gcc 12.2.0 -O3 -march=native ...": what compiled it, and how. Static storage. */
extern const char *const train_gpt_compiler;

/* The XXH64 of this program's file in hexadecimal; "" where the system does not show it (no /proc). Static storage. */
const char *train_gpt_program(void);

#endif
