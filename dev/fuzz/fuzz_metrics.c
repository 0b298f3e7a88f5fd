/* libFuzzer entry for metrics.csv: whatever a crash or a hand left of it, it is refused with a sentence, or continued,
 * and then holds rows of steps up to the one resumed from and the new row. */
#include "train/metrics.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[] = "/tmp/fuzz_metrics_XXXXXX";
    const int fd = mkstemp(path);
    const size_t step = size > 0 ? data[0] : 0;
    MetricsLog log;
    Metrics m = {.step = step + 1};
    long long kept;
    Error e = {""};
    if (fd < 0 || (size > 0 && write(fd, data + 1, size - 1) != (ssize_t)size - 1) || close(fd) != 0)
        abort();
    if (metrics_open(&log, path, true, step, &kept, &e) == 0) {
        if (kept > (long long)step || (log.last >= 0 && metrics_amend(&log, 1.5, &e) != 0) ||
            metrics_write(&log, &m, &e) != 0 || metrics_close(&log, &e) != 0)
            abort();
        if (metrics_open(&log, path, true, step + 1, &kept, &e) != 0 || kept != (long long)step + 1)
            abort();
        metrics_close(&log, &e);
    } else if (strncmp(e.text, path, strlen(path)) != 0) {
        abort();
    }
    unlink(path);
    return 0;
}
