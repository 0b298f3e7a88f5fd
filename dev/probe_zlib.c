/* Links when zlib is installed. */
#include <zlib.h>

int main(void) { return zlibVersion()[0] == 0; }
