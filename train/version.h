#pragma once
extern const char *const train_gpt_source;
