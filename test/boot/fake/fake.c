/*
 * A kernel that lies: the runner's own tests boot it in place of Cairn, and it ends in each of the ways in which a run
 * must not count as a success (and in the one way in which it must). It is 32-bit code without an allocator, a page
 * table or an interrupt: nothing in it is under test.
 *
 * `fake=NAME` on the kernel's command line chooses what happens; the names are in tests() and ends() below. The command
 * line itself is printed as it came.
 */
#include <stdint.h>

enum {
    COM1 = 0x3F8,
    COM1_STATUS = COM1 + 5,
    DEBUG_EXIT = 0xF4,
    STATUS_OFFSET = 16, /* the device gets STATUS + 16: never a status that the emulator uses itself */
    TAG_END = 0,
    TAG_COMMAND_LINE = 1,
    TAG_MODULE = 3,
};

static void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static uint8_t in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void put(char c)
{
    while ((in8(COM1_STATUS) & 0x20) == 0) {
    }
    out8(COM1, (uint8_t)c);
}

static void print(const char *s)
{
    for (; *s != 0; s++) {
        if (*s == '\n') {
            put('\r');
        }
        put(*s);
    }
}

static void drain(void)
{
    while ((in8(COM1_STATUS) & 0x40) == 0) {
    }
}

__attribute__((noreturn)) static void halt(void)
{
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

__attribute__((noreturn)) static void reset(void)
{
    static const uint16_t no_idt[3];
    drain();
    __asm__ volatile("lidt %0; ud2" : : "m"(no_idt));
    halt();
}

static int starts_with(const char *s, const char *prefix)
{
    while (*prefix != 0) {
        if (*s++ != *prefix++) {
            return 0;
        }
    }
    return 1;
}

/* The text of `key` (with its '=') up to the next blank; a copy in `out`. */
static void option(const char *line, const char *key, char *out, unsigned out_bytes)
{
    unsigned n = 0;
    for (const char *s = line; *s != 0; s++) {
        if ((s == line || s[-1] == ' ') && starts_with(s, key)) {
            while (*key++ != 0) {
                s++;
            }
            while (*s != 0 && *s != ' ' && n + 1 < out_bytes) {
                out[n++] = *s++;
            }
            break;
        }
    }
    out[n] = 0;
}

static void exit_line(const char *status, const char *nonce)
{
    print("cairn-exit ");
    print(status);
    print(" ");
    print(nonce);
    print("\n");
}

__attribute__((noreturn)) static void leave(uint32_t status)
{
    drain();
    out32(DEBUG_EXIT, status + STATUS_OFFSET);
    halt();
}

__attribute__((noreturn)) static void say_and_leave(const char *text, const char *nonce)
{
    print(text);
    exit_line("0", nonce);
    leave(0);
}

#define KTAP2 "KTAP version 1\n1..2\n"
#define DONE "result test: ok\n"

static void tests(const char *fake, const char *nonce)
{
    if (starts_with(fake, "plan-good")) {
        say_and_leave(KTAP2 "ok 1 a.one\nok 2 a.two\n" DONE, nonce);
    } else if (starts_with(fake, "plan-half")) {
        say_and_leave(KTAP2 "ok 1 a.one\n" DONE, nonce);
    } else if (starts_with(fake, "plan-repeat")) {
        say_and_leave(KTAP2 "ok 1 a.one\nok 1 a.one\n" DONE, nonce);
    } else if (starts_with(fake, "plan-empty")) {
        say_and_leave("KTAP version 1\n1..0\n" DONE, nonce);
    } else if (starts_with(fake, "plan-none")) {
        say_and_leave(DONE, nonce);
    } else if (starts_with(fake, "plan-failed")) {
        say_and_leave(KTAP2 "ok 1 a.one\nnot ok 2 a.two\n" DONE, nonce);
    } else if (starts_with(fake, "plan-forged")) { /* a test prints the success line, then the machine hangs in it */
        print(KTAP2 "ok 1 a.one\n");
        exit_line("0", nonce);
        halt();
    }
}

static void ends(const char *fake, const char *nonce)
{
    if (starts_with(fake, "good")) {
        say_and_leave("", nonce);
    } else if (starts_with(fake, "panic")) {
        print("panic: as asked\n");
        exit_line("1", nonce);
        leave(1);
    } else if (starts_with(fake, "hang")) {
        halt();
    } else if (starts_with(fake, "reset-after-success")) {
        exit_line("0", nonce);
        reset();
    } else if (starts_with(fake, "reset")) {
        reset();
    } else if (starts_with(fake, "early-success")) { /* success in the middle, then a panic that never says so */
        exit_line("0", nonce);
        print("panic: after the success line\n");
        leave(0);
    } else if (starts_with(fake, "two-faced")) { /* the line says 0, the device 1 */
        exit_line("0", nonce);
        leave(1);
    } else if (starts_with(fake, "wrong-nonce")) {
        say_and_leave("", "0123456789abcdef");
    } else if (starts_with(fake, "no-nonce")) {
        say_and_leave("", "");
    } else if (starts_with(fake, "silent")) { /* the device alone */
        leave(0);
    } else if (starts_with(fake, "glued")) { /* the success line at the end of another one */
        say_and_leave("some text without an end ", nonce);
    } else if (starts_with(fake, "flood")) { /* one endless line */
        for (;;) {
            print("all work and no play makes a dull kernel ");
        }
    }
}

void fake_main(const uint8_t *info)
{
    static char fake[40], nonce[40];
    const char *line = "";
    print("\n");
    const uint8_t *tag = info + 8;
    for (; *(const uint32_t *)tag != TAG_END; tag += (((const uint32_t *)tag)[1] + 7) & ~7U) {
        if (*(const uint32_t *)tag == TAG_COMMAND_LINE) {
            line = (const char *)tag + 8;
        } else if (*(const uint32_t *)tag == TAG_MODULE) {
            print("module: <");
            print((const char *)tag + 16);
            print(">\n");
        }
    }
    print("command line: <");
    print(line);
    print(">\n");
    option(line, "fake=", fake, sizeof fake);
    option(line, "nonce=", nonce, sizeof nonce);
    tests(fake, nonce);
    ends(fake, nonce);
    print("fake: no such ending\n");
    leave(1);
}

/* The Multiboot2 header, and the entry: a stack, then fake_main with the information's address. */
__asm__(".section .multiboot, \"a\"\n"
        ".balign 8\n"
        "0: .long 0xE85250D6, 0, 1f - 0b, -(0xE85250D6 + (1f - 0b))\n"
        ".short 0, 0\n"
        ".long 8\n"
        "1:\n"
        ".text\n"
        ".global fake_start\n"
        "fake_start:\n"
        "mov $fake_stack_end, %esp\n"
        "push %ebx\n"
        "call fake_main\n"
        ".bss\n"
        ".balign 16\n"
        ".skip 16384\n"
        "fake_stack_end:\n"
        ".text\n");
