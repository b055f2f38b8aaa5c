/* A few instructions in user mode, for tests in the kernel. */
#ifndef CAIRN_TEST_UNIT_USER_BED_H
#define CAIRN_TEST_UNIT_USER_BED_H

#include "arch/x86_64/user.h"
#include "kernel/program.h"
#include "vmm/vmm.h"

/* A space of tables alone, with the code of a test at user_code_at and a page to write to at user_data_at. */
struct user_bed {
    struct space space;
    struct user_context context;
};

#define user_code_at vaddr(0x400000)
#define user_data_at vaddr(0x401000)

/* false: said so, as a failed test. */
bool user_bed_make(struct user_bed *bed, const uint8_t *code, const uint8_t *end);
/* From the code's beginning to where it leaves; the kernel's own space is current before and after. */
void user_bed_run(struct user_bed *bed);
/* The same, going on where it left, or where the context says. */
void user_bed_go_on(struct user_bed *bed);
void user_bed_end(struct user_bed *bed);

#endif
