/*
 * libFuzzer: any bytes as boot information. Parsed in an allocation of just their size, all of the answer is read and
 * the map normalised. (The bed's files want a test bed only where they report; here they do not.)
 */
#include "fuzz/port.h"
#include "lib/string.h"
#include "unit/mb2_bed.h"

static void hear(void *ctx, const char *text) { *(size_t *)ctx += strlen(text); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mb2_info info;
    size_t heard = 0;
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) {
        return 0;
    }
    if (size > 0) {
        memcpy(copy, data, size);
    }
    enum status status = mb2_parse(copy, size, &info, hear, &heard);
    if ((status != STATUS_OK && status != STATUS_CORRUPT) || !block_answer_is_inside(&info, copy, size) ||
        (info.problems > 0) != (heard > 0)) {
        abort();
    }
    free(copy);
    return 0;
}
