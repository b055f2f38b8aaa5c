/* Messages that wait. Private to src/task/ and the tests that break them. */
#ifndef CAIRN_TASK_MESSAGE_H
#define CAIRN_TASK_MESSAGE_H

#include "task/task.h"

struct task_message {
    struct task_message *next; /* of the same receiver, in the order of ids */
    uint64_t id;               /* as the receiver sees it: kind, count */
    uint64_t time, words[2];
    unsigned sender;
    /* A struct task_data as it will lie in the buffer. Of TASK_MESSAGE_DATA only, which are blocks of the heap; others
     * are of the cache, and end here. */
    uint64_t bytes;
    uint8_t data[];
};

#define TASK_MESSAGE_COUNT(id) ((id) & ((1ULL << 56) - 1))

/* It is no more; it is on no queue. */
void message_free(struct tasks *tasks, struct task_message *message);

#endif
