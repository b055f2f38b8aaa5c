/* What an exception means, in words: from its error code, the registers and the code at RIP. */
#include "arch/layout.h"
#include "arch/x86_64/cpu.h"
#include "kernel/console.h"
#include "kernel/fault.h"
#include "kernel/machine.h"
#include "lib/macros.h"

enum {
    CODE_BYTES = 16, /* the longest instruction has 15 */
    SYSTEM_PORT = 0x61,
    SYSTEM_SERR = 1 << 7,
    SYSTEM_IOCHK = 1 << 6,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17A,
    MSR_MC0_STATUS = 0x401,
    MCA_BANK_MSRS = 4,
    MCA_BANK_ADDRESS = 1, /* from a bank's status to its address */
};

#define MCI_STATUS_VALID (1ULL << 63)
#define MCI_STATUS_UNCORRECTED (1ULL << 61)
#define MCI_STATUS_HAS_ADDRESS (1ULL << 58)

static void page_fault(const struct interrupt_frame *f, uint64_t va)
{
    const char *access = (f->error & FAULT_FETCH) != 0 ? "execute" : (f->error & FAULT_WRITE) != 0 ? "write" : "read";
    const char *why = (f->error & FAULT_RESERVED_BIT) != 0 ? "a reserved bit is set in an entry"
                      : (f->error & FAULT_PRESENT) == 0    ? "nothing is mapped there"
                                                           : "its rights forbid it";
    print("cannot %s 0x%016lx: %s (%s mode)\n", access, va, why, (f->error & FAULT_USER) != 0 ? "user" : "kernel");
    if ((f->error & FAULT_FETCH) != 0 && f->rip == va) {
        print("it was jumped to, by a wrong function pointer or return address\n");
    }
}

/* SDM 3A 6.13: external, in the IDT, in the LDT rather than the GDT, index. */
static void selector_error(uint64_t error)
{
    const char *table = (error & 2) != 0 ? "IDT" : (error & 4) != 0 ? "LDT" : "GDT";
    print("entry %lu of the %s (selector %#lx) is at fault%s\n", error >> 3 & 0x1FFF, table, error & 0xFFFC,
          (error & 1) != 0 ? ", while something from outside the program was delivered" : "");
}

static void tell_register(const char *name, uint64_t value, unsigned *found)
{
    if (!vaddr_is_canonical(vaddr(value))) {
        print("%s = 0x%016lx is not a canonical address: using it as one is the likely cause\n", name, value);
        (*found)++;
    }
}

static void bad_address(const struct interrupt_frame *f)
{
    unsigned found = 0;
    tell_register("rip", f->rip, &found);
    tell_register("rsp", f->rsp, &found);
    tell_register("rax", f->rax, &found);
    tell_register("rbx", f->rbx, &found);
    tell_register("rcx", f->rcx, &found);
    tell_register("rdx", f->rdx, &found);
    tell_register("rsi", f->rsi, &found);
    tell_register("rdi", f->rdi, &found);
    tell_register("rbp", f->rbp, &found);
    tell_register("r8", f->r8, &found);
    tell_register("r9", f->r9, &found);
    tell_register("r10", f->r10, &found);
    tell_register("r11", f->r11, &found);
    tell_register("r12", f->r12, &found);
    tell_register("r13", f->r13, &found);
    tell_register("r14", f->r14, &found);
    tell_register("r15", f->r15, &found);
    if (found == 0) {
        print("no register holds a non-canonical address: an instruction that is not allowed, or a bad operand\n");
    }
}

static void invalid_opcode(const struct interrupt_frame *f)
{
    enum { UD2_FIRST = 0x0F, UD2_SECOND = 0x0B };
    const uint8_t *code = (const uint8_t *)(uintptr_t)f->rip;
    if (fault_can_read(f->rip, 2) && code[0] == UD2_FIRST && code[1] == UD2_SECOND) {
        print("ud2: a place that is never reached in a correct program\n");
    } else {
        print("the CPU does not know this instruction, or its extension is not enabled\n");
    }
}

static void non_maskable(void)
{
    uint8_t reason = in8(SYSTEM_PORT);
    print("%s (port 0x61: %#x)\n",
          (reason & SYSTEM_SERR) != 0    ? "memory or bus error (SERR)"
          : (reason & SYSTEM_IOCHK) != 0 ? "a device reported an error (IOCHK)"
                                         : "no hardware error is shown: sent by a person, a watchdog or a debugger",
          reason);
}

static void machine_check(void)
{
    enum { CPUID_MCA = 14, BANKS_MASK = 0xFF };
    if ((cpuid(1, 0).edx >> CPUID_MCA & 1) == 0) {
        print("the CPU tells no more (no MCA)\n");
        return;
    }
    unsigned banks = (unsigned)read_msr(MSR_MCG_CAP) & BANKS_MASK;
    print("the hardware says that it is broken: MCG_STATUS %#lx, %u banks\n", read_msr(MSR_MCG_STATUS), banks);
    for (unsigned bank = 0; bank < banks; bank++) {
        uint32_t msr = MSR_MC0_STATUS + MCA_BANK_MSRS * bank;
        uint64_t status = read_msr(msr);
        if ((status & MCI_STATUS_VALID) == 0) {
            continue;
        }
        print("bank %u: status 0x%016lx, %scorrected", bank, status,
              (status & MCI_STATUS_UNCORRECTED) != 0 ? "un" : "");
        if ((status & MCI_STATUS_HAS_ADDRESS) != 0) {
            print(", at %#lx", read_msr(msr + MCA_BANK_ADDRESS));
        }
        print("\n");
    }
}

void fault_print_why(const struct interrupt_frame *f, uint64_t cr2)
{
    enum { INVALID_TSS = 10, STACK_FAULT = 12 };
    switch (f->vector) {
    case EXCEPTION_PAGE_FAULT: page_fault(f, cr2); break;
    case EXCEPTION_DOUBLE_FAULT: print("a fault could not be delivered: mostly for want of a stack\n"); break;
    case EXCEPTION_DIVIDE: print("a division by zero, or its result does not fit\n"); break;
    case EXCEPTION_NMI: non_maskable(); break;
    case EXCEPTION_MACHINE_CHECK: machine_check(); break;
    case EXCEPTION_INVALID_OPCODE: invalid_opcode(f); break;
    default:
        if (f->vector >= INVALID_TSS && f->vector <= EXCEPTION_GENERAL_PROTECTION) {
            if (f->error != 0) {
                selector_error(f->error);
            } else {
                bad_address(f);
            }
        }
        break;
    }
}

void fault_print_code(const struct interrupt_frame *f)
{
    uint64_t bytes = CODE_BYTES;
    while (bytes > 0 && !fault_can_read(f->rip, bytes)) {
        bytes--;
    }
    if (bytes == 0) {
        print("code: none can be read\n");
        return;
    }
    print("code:");
    const volatile uint8_t *code = (const volatile uint8_t *)(uintptr_t)f->rip;
    for (uint64_t i = 0; i < bytes; i++) {
        print(" %02x", code[i]);
    }
    print("\n");
}
