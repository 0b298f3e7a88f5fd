/* The table of peaks: the figures of data sheets for devices that name themselves so, and 0 for every other. */

#include "dev/tests/check.h"
#include "train/peak.h"

static void test_data_sheets(void)
{
    check(peak_flops("NVIDIA H200", GPT_BF16) == 989.4e12, "an H200 in bf16");
    check(peak_flops("NVIDIA A100-SXM4-80GB", GPT_BF16) == 312e12, "an A100 in bf16");
    check(peak_flops("NVIDIA A100-SXM4-80GB", GPT_TF32) == 156e12, "an A100 in tf32");
    check(peak_flops("NVIDIA A100-SXM4-80GB", GPT_FP32) == 19.5e12, "an A100 in fp32");
    check(peak_flops("NVIDIA GeForce RTX 4090", GPT_BF16) == 165.2e12, "an RTX 4090 in bf16");
}

/* Tensor cores take two bf16 in the time of one tf32, up to what the sheets round away. */
static void test_tf32_is_half_of_bf16(void)
{
    static const char *const names[] = {"NVIDIA A100-PCIE-40GB", "NVIDIA H100 80GB HBM3",   "NVIDIA H200 NVL",
                                        "NVIDIA B200",           "NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 5090"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const double bf16 = peak_flops(names[i], GPT_BF16), tf32 = peak_flops(names[i], GPT_TF32);
        check(bf16 > 0, "%s is not in the table", names[i]);
        check_close(tf32, bf16 / 2, 0.002 * bf16, names[i]);
    }
}

static void test_others_are_unknown(void)
{
    static const char *const names[] = {"NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D", "NVIDIA H20",
                                        "CUDA on CPU", ""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check(peak_flops(names[i], GPT_BF16) == 0, "%s has a peak", names[i]);
    check(peak_flops(NULL, GPT_FP32) == 0, "a CPU has a peak");
}

int main(void)
{
    check_run("figures of data sheets", test_data_sheets);
    check_run("tf32 is half of bf16", test_tf32_is_half_of_bf16);
    check_run("other devices are unknown", test_others_are_unknown);
    return check_summary();
}
