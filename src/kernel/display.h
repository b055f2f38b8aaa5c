/* The screen's memory, mapped for good in the kernel arena. */
#ifndef CAIRN_KERNEL_DISPLAY_H
#define CAIRN_KERNEL_DISPLAY_H

#include "boot/mb2.h"

/* VGA text memory. Without memory for the mapping there is no screen any more, and the log says so. */
void display_vga(void);
/* The framebuffer that the loader set up, write-combining; one that cannot be used is told in the log. */
void display_framebuffer(const struct mb2_framebuffer *screen);

#endif
