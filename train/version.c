#include "train/version.h"
const char *const train_gpt_source = "stub";
