#include "train/peak.h"

#include <string.h>

/* TFLOP/s, dense. Sources: NVIDIA's data sheets for A100, H100, H200 and B200 (half their figures with sparsity); for
 * GeForce, the GA102, Ada and RTX Blackwell architecture whitepapers (tensor cores with fp32 accumulation). */
static const struct {
    const char *name;
    double bf16, tf32, fp32;
} devices[] = {
    {"NVIDIA A100-SXM4-40GB", 312, 156, 19.5},
    {"NVIDIA A100-SXM4-80GB", 312, 156, 19.5},
    {"NVIDIA A100-PCIE-40GB", 312, 156, 19.5},
    {"NVIDIA A100 80GB PCIe", 312, 156, 19.5},
    {"NVIDIA H100 80GB HBM3", 989.4, 494.7, 66.9},
    {"NVIDIA H100 PCIe", 756, 378, 51.2},
    {"NVIDIA H100 NVL", 835.5, 417.5, 60},
    {"NVIDIA H200", 989.4, 494.7, 66.9},
    {"NVIDIA H200 NVL", 835.5, 417.5, 60},
    {"NVIDIA B200", 2250, 1125, 75},
    {"NVIDIA GeForce RTX 3070", 40.6, 20.3, 20.3},
    {"NVIDIA GeForce RTX 3080", 59.5, 29.8, 29.8},
    {"NVIDIA GeForce RTX 3090", 71.2, 35.6, 35.6},
    {"NVIDIA GeForce RTX 3090 Ti", 80, 40, 40},
    {"NVIDIA GeForce RTX 4070 Ti", 80.2, 40.1, 40.1},
    {"NVIDIA GeForce RTX 4080", 97.5, 48.7, 48.7},
    {"NVIDIA GeForce RTX 4090", 165.2, 82.6, 82.6},
    {"NVIDIA GeForce RTX 5070", 61.7, 30.9, 30.9},
    {"NVIDIA GeForce RTX 5070 Ti", 87.9, 43.9, 43.9},
    {"NVIDIA GeForce RTX 5080", 112.6, 56.3, 56.3},
    {"NVIDIA GeForce RTX 5090", 209.5, 104.8, 104.8},
};

double peak_flops(const char *device, GptDtype dtype)
{
    for (size_t i = 0; device != NULL && i < sizeof devices / sizeof *devices; i++)
        if (strcmp(device, devices[i].name) == 0)
            return 1e12 * (dtype == GPT_BF16 ? devices[i].bf16 : dtype == GPT_TF32 ? devices[i].tf32 : devices[i].fp32);
    return 0;
}
