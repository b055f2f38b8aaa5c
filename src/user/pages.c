#include "user/pages.h"

#include "user/runtime.h"

void *pages_take(size_t bytes, unsigned align_log2)
{
    user_address at;
    const enum status s = call_alloc(bytes, TASK_READ | TASK_WRITE, align_log2, &at);
    return s == STATUS_OK ? (void *)at : NULL;
}

void pages_give_back(void *at, size_t bytes) { NEED_OK(call_free(address_of(at), bytes)); }

void pages_complain(const char *name, const void *block) { fail("%s(%p): not a block in use", name, block); }
