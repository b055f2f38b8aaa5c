/* The kernel after bring-up. */
#ifndef CAIRN_KERNEL_MAIN_H
#define CAIRN_KERNEL_MAIN_H

/* On the main stack: gives boot memory back, reports, then does what the options say. */
_Noreturn void kernel_main(void);

#endif
