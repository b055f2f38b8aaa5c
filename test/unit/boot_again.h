/*
 * The boot files for tests inside the kernel: they lie in .init, which is given back before any test runs. So there the
 * tests bring copies of their own, under other names: boot_again_*.c compile the same sources once more. On
 * the host nothing is thrown away, and the tests use what the tools use. Include this before any header of boot/.
 */
#ifndef CAIRN_TEST_UNIT_BOOT_AGAIN_H
#define CAIRN_TEST_UNIT_BOOT_AGAIN_H

#ifndef CAIRN_HOST
#define acpi_open again_acpi_open
#define acpi_find again_acpi_find
#define acpi_table_read again_acpi_table_read
#define acpi_read_nodes again_acpi_read_nodes
#define acpi_wrong again_acpi_wrong
#define memmap_normalise again_memmap_normalise
#define memmap_type_name again_memmap_type_name
#define mb2_parse again_mb2_parse
#define mb2_map_entry again_mb2_map_entry
#define mb2_section again_mb2_section
#define mb2_wrong again_mb2_wrong
#define mb2_parse_map again_mb2_parse_map
#define mb2_choose_map again_mb2_choose_map
#define mb2_map_source_name again_mb2_map_source_name
#define early_init again_early_init
#define early_hold again_early_hold
#define early_alloc again_early_alloc
#define early_free again_early_free
#define early_handover again_early_handover
#define early_hold_pc again_early_hold_pc
#define bad_holds_plan again_bad_holds_plan
#define bad_holds_cut again_bad_holds_cut
#define bad_holds_add again_bad_holds_add
#define bad_holds_find again_bad_holds_find
#endif

#endif
