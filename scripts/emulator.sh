# shellcheck shell=bash
# The command lines of the emulators: sourced by scripts/run, which sets what is read here and checked it before.
# shellcheck disable=SC2154,SC2034

readonly MIB=$((1 << 20))

# --- QEMU ---

# Memory always comes from a backend without a reservation: the host needs only what the guest touches, so 4T boots.
qemu_memory() {
    local node per_node=$((memory_bytes / nodes)) first last
    qemu+=(-m "$((memory_bytes / MIB))M" -smp "$cpus")
    if ((nodes == 1)); then
        qemu+=(-object "memory-backend-ram,id=ram0,size=$memory_bytes,reserve=off"
            -machine "$machine,memory-backend=ram0")
        return 0
    fi
    qemu+=(-machine "$machine")
    for ((node = 0; node < nodes; node++)); do
        first=$((node * cpus / nodes)) last=$(((node + 1) * cpus / nodes - 1))
        qemu+=(-object "memory-backend-ram,id=ram$node,size=$per_node,reserve=off"
            -numa "node,nodeid=$node,memdev=ram$node,cpus=$first-$last")
    done
}

# One file with code and variables goes in as a ROM; code alone is flash, with a copy of the variables that this run may
# write.
qemu_firmware() {
    local code vars
    [[ $firmware == uefi ]] || return 0
    code=$(ovmf_file) || fail "OVMF not found, looked in: ${OVMF_PLACES[*]} (CAIRN_OVMF=FILE names another place)"
    if ! is_ovmf_code "$code"; then
        qemu+=(-bios "$code")
        return 0
    fi
    vars=$(ovmf_variables "$code") || fail "$code: OVMF's code without a file of variables next to it"
    cp -- "$vars" "$work/vars.fd"
    chmod u+w "$work/vars.fd"
    qemu+=(-drive "if=pflash,format=raw,unit=0,readonly=on,file=$code"
        -drive "if=pflash,format=raw,unit=1,file=$work/vars.fd")
}

# 46 physical bits reach 4T and more. OVMF builds tables for all of them: it is slow then, and the builds of 4 MiB seem
# to hang; so UEFI gets them only where 40 bits are too few.
qemu_cpu() {
    if [[ $firmware == bios ]] || ((memory_bytes > 512 << 30)); then
        echo max,phys-bits=46
    else
        echo max
    fi
}

qemu_command() {
    local display=none accelerator=tcg
    ((icount == 0)) || accelerator=tcg,thread=single
    qemu=(qemu-system-x86_64 -accel "$accelerator" -cpu "${cpu_model:-$(qemu_cpu)}" -nodefaults -vga std -no-reboot)
    qemu_memory
    qemu_firmware
    qemu+=(-cdrom "$work/cairn.iso" -boot d)
    # A machine that can neither be told anything nor say anything stays as it is, to be looked at.
    ((serial + has_exec == 0)) || qemu+=(-device "isa-debug-exit,iobase=0xf4,iosize=4")
    # A triple fault is written to the log; the machine then stands still, and scripts/qemu-watch.py reads the
    # registers.
    qemu+=(-d cpu_reset -D "$emulator_log" -no-shutdown -qmp "unix:$work/qmp,server,nowait")
    if ((headless == 0)) && has_display && qemu-system-x86_64 -display help | grep -qx gtk; then
        display=gtk
    fi
    qemu+=(-display "$display")
    if ((serial == 0)); then
        qemu+=(-serial none)
    elif ((headless == 1)); then
        qemu+=(-chardev "stdio,id=com1,signal=off,logfile=$serial_log" -serial chardev:com1)
    else
        qemu+=(-chardev "stdio,id=com1,mux=on,signal=off,logfile=$serial_log" -serial chardev:com1 -mon chardev=com1)
    fi
    [[ -z $qemu_monitor ]] || qemu+=(-monitor "unix:$qemu_monitor,server,nowait")
    ((icount == 0)) || qemu+=(-icount shift=0)
    ((gdb == 0)) || qemu+=(-gdb "tcp:localhost:${CAIRN_GDB_PORT:-1234}" -S)
}

# --- Bochs ---

# The window, where somebody can see it and a library for it is installed; else the screen goes to a VNC port that
# nobody needs to look at.
bochs_display() {
    local library
    if ((headless == 0)) && has_display; then
        for library in sdl2 sdl x; do
            if compgen -G "/usr/lib*/bochs/plugins/libbx_${library}_gui.so" >/dev/null ||
                compgen -G "/usr/lib/*/bochs/plugins/libbx_${library}_gui.so" >/dev/null; then
                printf '%s\n' "$library"
                return 0
            fi
        done
        say "no window: install bochs-sdl or bochs-x for one"
    fi
    printf 'rfb, options="timeout=0"\n'
}

# Bochs takes at most 2 GiB from the host; what a guest uses beyond goes to a file. It opens the host's sound if it is
# not told otherwise, and where there is none it may die of it ("buffer overflow detected", in its mixer).
write_bochsrc() {
    local mib=$((memory_bytes / MIB))
    cat >"$work/bochsrc" <<RC
memory: guest=$mib, host=$((mib < 2048 ? mib : 2048))
cpu: model=corei7_skylake_x, count=$cpus, ips=100000000, reset_on_triple_fault=0
display_library: $(bochs_display)
romimage: file=$(bochs_rom BIOS-bochs-latest)
vgaromimage: file=$(bochs_rom VGABIOS-lgpl-latest)
ata0-master: type=cdrom, path=$work/cairn.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=@COM1@
magic_break: enabled=$magic
speaker: enabled=0
sound: driver=dummy
mouse: enabled=0
log: $emulator_log
panic: action=fatal
error: action=report
info: action=report
debug: action=ignore
RC
}

# scripts/bochs.py ends Bochs when the kernel is done, and stands between its serial line and ours.
bochs_command() {
    local mode=headless
    ((headless == 1)) || mode=terminal
    ((debugger == 0)) || mode=debugger
    write_bochsrc
    bochs=("$python" "$CAIRN_ROOT/scripts/bochs.py" --mode "$mode" --bochsrc "$work/bochsrc" --log "$emulator_log"
        --serial-log "$serial_log" --kib-max "$SERIAL_LOG_KIB_MAX")
    [[ -z $debugger_commands ]] || bochs+=(--commands "$debugger_commands")
    [[ -z $debugger_output ]] || bochs+=(--output "$debugger_output")
}
