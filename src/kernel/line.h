/*
 * A line read from the console, with editing: backspace, delete, left and right, home and end, ctrl-A E U K W C L,
 * history by the arrows.
 */
#ifndef CAIRN_KERNEL_LINE_H
#define CAIRN_KERNEL_LINE_H

#include <stdbool.h>

/*
 * Prints `prompt` and reads a line into the editor's own memory, valid until the next call. What is not blank is
 * remembered. Null: there is no serial port.
 */
const char *line_read(const char *prompt);

/* Before something is printed while a line may be edited: it gets lines of its own; the edited one is shown again. */
void line_aside(void);

#endif
