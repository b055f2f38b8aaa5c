/* Violations: which entry, who may hold it, what it was and is, what would have removed it. */
#include <stdarg.h>

#include "lib/fmt.h"
#include "model/mmu.h"
#include "unit/test.h"

const char *model_rule_name(enum model_rule rule)
{
    static const char *const names[MODEL_RULES] = {
        [MODEL_NONE] = "no violation",
        [MODEL_STALE] = "stale access",
        [MODEL_STALE_FAULT] = "stale walk that faults",
        [MODEL_SPURIOUS] = "spurious fault",
        [MODEL_FREED_PAGE] = "page freed before the flush",
        [MODEL_FREED_TABLE] = "table freed before the flush",
        [MODEL_FREED_WINDOW] = "table freed while it can be walked through the foreign slot",
        [MODEL_PAGE_SIZE] = "page size changed without break before make",
        [MODEL_CACHE_ALIAS] = "one frame with two cache types",
        [MODEL_MARK_LOST] = "accessed or dirty may be lost",
        [MODEL_MARK_STALE] = "accessed or dirty cleared and not flushed",
        [MODEL_READ_ONLY_TABLE] = "table written through a read-only window page",
        [MODEL_GLOBAL_TABLE] = "global bit in an entry that names a table",
        [MODEL_UNCACHED_TABLE] = "cache bits in an entry that names a table",
        [MODEL_SLOT_BITS] = "wrong window slot",
        [MODEL_SLOT_RESERVED] = "slot kept for windows used",
        [MODEL_WINDOW_NESTED] = "window opened on itself or on an open one",
        [MODEL_WINDOW_OPEN] = "CR3 loaded with the window open",
        [MODEL_WINDOW_TAKEN] = "another CPU's window used",
        [MODEL_WINDOW_UNLOCKED] = "window used without its lock",
        [MODEL_WINDOW_MOVED] = "window moved without being closed",
        [MODEL_LARGE_AS_TABLE] = "large page used as a table",
        [MODEL_DIRTY_TABLE] = "table linked before it was zeroed",
        [MODEL_DEAD_FRAME] = "frame not in use",
        [MODEL_FAULT] = "page fault, not mapped",
        [MODEL_FAULT_RIGHTS] = "page fault, rights",
        [MODEL_FAULT_RESERVED] = "page fault, reserved bits",
        [MODEL_FAULT_CANONICAL] = "not canonical",
        [MODEL_BAD_ROOT] = "CR3 loaded with a frame not in use",
    };
    return rule < MODEL_RULES ? names[rule] : "unknown";
}

struct model_report report_of(const struct model *m, enum model_rule rule, const struct model_record *r, unsigned level)
{
    const struct model_table *t = table_of(m, pfn(r->table));
    record_t newest = t->newest[r->index];
    bool present = newest != 0 && record_at(m, newest)->to == MODEL_NOW;
    return (struct model_report){
        .rule = rule,
        .level = level,
        .table = pfn(r->table),
        .index = r->index,
        .old_value = {r->value},
        .new_value = {present ? record_at(m, newest)->value : 0},
        .changed = r->to,
        .frame = pte_pfn((pte_t){r->value}),
    };
}

/* What would have removed it. */
static void print_remedy(struct sink *out, const struct model *m, const struct model_report *r)
{
    bool global = (r->old_value.v & PTE_G) != 0 && m->cpu[r->cpu].global_pages;
    if (r->level == MODEL_ROOT_LEVEL) {
        sink_printf(out, "CR3 load with bit 63 clear, INVPCID type 1");
    } else if (entry_is_leaf(r->old_value.v, r->level)) {
        sink_printf(out, "INVLPG %#lx%s", r->va.v, global ? ", CR4.PGE" : ", CR3 load");
    } else if (m->variant.tce) {
        sink_printf(out, "INVLPG of an address behind that entry, CR3 load");
    } else {
        sink_printf(out, "any INVLPG, CR3 load; for each page behind it, its own INVLPG");
    }
}

/* Rules that something cached breaks; the others are broken by what is in memory. */
static bool is_of_caches(enum model_rule rule)
{
    return rule <= MODEL_PAGE_SIZE;
}

static void print_entry(struct sink *out, const struct model *m, const struct model_report *r)
{
    if (!is_of_caches(r->rule)) {
        sink_printf(out, "; level-%u entry %u of table %#lx: %#lx, before %#lx", r->level, r->index, r->table.v,
                    r->new_value.v, r->old_value.v);
        return;
    }
    if (r->level == MODEL_ROOT_LEVEL) {
        sink_printf(out, "; root %#lx, under PCID %u, is not the root of now", r->table.v, r->pcid);
    } else if (r->changed == MODEL_NOW) {
        sink_printf(out, "; level-%u entry %u of table %#lx is %#lx", r->level, r->index, r->table.v, r->old_value.v);
    } else {
        sink_printf(out, "; level-%u entry %u of table %#lx was %#lx until event %lu of %lu, is %#lx", r->level,
                    r->index, r->table.v, r->old_value.v, r->changed, m->clock, r->new_value.v);
    }
    sink_printf(out, "; removed by: ");
    print_remedy(out, m, r);
}

void model_violation(struct model *m, struct model_report report, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct buffer_sink b;
    buffer_sink_init(&b, m->last_violation, sizeof m->last_violation);
    sink_printf(&b.sink, "%s: CPU %u, PCID %u: ", model_rule_name(report.rule), report.cpu, report.pcid);
    sink_vprintf(&b.sink, format, args);
    va_end(args);
    if (report.level != 0) {
        if (report.va.v != 0) {
            sink_printf(&b.sink, " (by %#lx)", report.va.v);
        }
        print_entry(&b.sink, m, &report);
    }
    if (m->violations++ == 0) {
        m->first = report;
        memcpy(m->first_violation, m->last_violation, sizeof m->first_violation);
    }
    m->of_rule[report.rule]++;
    m->last = report;
    if (!m->violations_wanted) {
        test_expect(false, m->last_violation, __FILE__, __LINE__);
    }
}
