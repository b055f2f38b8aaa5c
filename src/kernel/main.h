/* The kernel after bring-up. */
#ifndef CAIRN_KERNEL_MAIN_H
#define CAIRN_KERNEL_MAIN_H

/* On the main stack: gives boot memory back, reports, then does what the options say. */
_Noreturn void kernel_main(void);

/*
 * Stops under Bochs, or under a debugger that looks for it, if debug=magic asks for the point `name`, or for no point
 * by name; elsewhere it does nothing.
 */
void magic_breakpoint(const char *name);

#endif
