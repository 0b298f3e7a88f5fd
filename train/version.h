#ifndef TRAIN_VERSION_H
#define TRAIN_VERSION_H

#define TRAIN_GPT_VERSION "0.1.0"

/* The source that this program was built from: "9b49b6bdc1", with a tag before it where there is one and "-dirty" after
 * it where files were changed since; without git, "cksum-" and a checksum of the sources. Static storage. */
extern const char *const train_gpt_source;

#endif
