/* Links when PCRE2 is installed. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

int main(void) { return pcre2_config(PCRE2_CONFIG_UNICODE, NULL) < 0; }
