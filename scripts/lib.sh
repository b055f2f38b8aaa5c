# shellcheck shell=bash
# Shared by all scripts: where the project is, how to speak, and how missing tools are named and installed.
# Sourced, never run. Status of every script: 0 success, 1 failure, 2 wrong use, 124 time-out.

CAIRN_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CAIRN_BUILD=$CAIRN_ROOT/build
CAIRN_SELF=scripts/$(basename "$0")
readonly CAIRN_ROOT CAIRN_BUILD CAIRN_SELF

say() { printf '%s: %s\n' "$CAIRN_SELF" "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

wrong_use() {
    say "$*"
    say "see $CAIRN_SELF --help"
    exit 2
}

# The help text of a script is the comment block at its top.
show_help() { awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$0"; }

# --- tools and their packages (Debian 12, Ubuntu 24.04) ---

# tool, package, what it is for; in the order of doctor's table.
tool_table() {
    cat <<'TABLE'
cmake cmake build
ninja ninja-build build
gcc gcc build
clang clang second compiler
nasm nasm trampoline
ld binutils build
nm binutils checks
objcopy binutils bootable ISO
libc-headers libc6-dev host tests
llvm-rt libclang-rt-dev clang sanitizers
grub-mkrescue grub-common bootable ISO
grub-file grub-common header check
grub-font grub-common console font
grub-i386-pc grub-pc-bin GRUB for BIOS
grub-x86_64-efi grub-efi-amd64-bin GRUB for UEFI
xorriso xorriso bootable ISO
mformat mtools bootable ISO
qemu-system-x86_64 qemu-system-x86 emulator
ovmf ovmf UEFI for QEMU
bochs bochs emulator
bochs-bios bochsbios BIOS for Bochs
bochs-vgabios vgabios screen BIOS for Bochs
gdb gdb debug
python3 python3 tests
pytest python3-pytest boot tests
pexpect python3-pexpect boot tests
timeout coreutils time-outs
flock util-linux one build at a time
git git version
TABLE
}

# A module counts only in the interpreter that the scripts use: Debian's own is tried when the first of PATH has none.
python_with() {
    local python
    for python in ${CAIRN_PYTHON:+"$CAIRN_PYTHON"} python3 /usr/bin/python3; do
        if "$python" -c "import $1" >/dev/null 2>&1; then
            printf '%s\n' "$python"
            return 0
        fi
    done
    return 1
}

# CAIRN_HIDE=NAME hides one of the things that are found by a place and not by PATH: for the tests of the doctor.
grub_platform_dir() {
    local dir places=(/usr/lib/grub /usr/local/lib/grub /usr/lib/grub2 /usr/share/grub2 /usr/share/grub)
    for dir in "${places[@]}"; do
        if [[ ${CAIRN_HIDE:-} != "$1" && -e $dir/$1/modinfo.sh ]]; then
            printf '%s\n' "$dir/$1"
            return 0
        fi
    done
    return 1
}

# The console font, where cmake/kernel.cmake looks for it.
grub_font() {
    local file
    for file in {/usr/share/grub,/usr/share/grub2,/boot/grub/fonts,/boot/grub2/fonts}/{ascii,euro,unicode}.pf2; do
        if [[ -r $file ]]; then
            printf '%s\n' "$file"
            return 0
        fi
    done
    return 1
}

# Tools that are known by another name elsewhere (Fedora, openSUSE: grub2-*).
grub_tool() { command -v "grub-$1" || command -v "grub2-$1"; }

# UEFI for QEMU, in the order tried: Debian and Ubuntu, Fedora and RHEL, Arch, openSUSE, Gentoo. A file named CODE needs
# its VARS beside it.
OVMF_PLACES=(/usr/share/ovmf/OVMF.fd /usr/share/qemu/OVMF.fd /usr/share/OVMF/OVMF.fd
    /usr/share/OVMF/OVMF_CODE_4M.fd /usr/share/OVMF/OVMF_CODE.fd
    /usr/share/edk2/ovmf/OVMF_CODE.fd /usr/share/edk2-ovmf/x64/OVMF_CODE.fd /usr/share/edk2/x64/OVMF_CODE.4m.fd
    /usr/share/edk2/x64/OVMF.4m.fd /usr/share/qemu/ovmf-x86_64-code.bin /usr/share/edk2-ovmf/OVMF_CODE.fd)

# CAIRN_OVMF alone where it is set: a wrong name is no reason to take another firmware.
ovmf_file() {
    local file places=("${OVMF_PLACES[@]}")
    [[ -z ${CAIRN_OVMF:-} ]] || places=("$CAIRN_OVMF")
    for file in "${places[@]}"; do
        if [[ -r $file ]] && { ! is_ovmf_code "$file" || ovmf_variables "$file" >/dev/null; }; then
            printf '%s\n' "$file"
            return 0
        fi
    done
    return 1
}

is_ovmf_code() { [[ $(basename "$1") == *[Cc][Oo][Dd][Ee]* ]]; }

# The variables that belong to a file of OVMF's code: the same name with VARS, also without .secboot.
ovmf_variables() {
    local name vars
    name=$(basename "$1")
    for vars in "${name//CODE/VARS}" "${name//code/vars}"; do
        for vars in "$vars" "${vars/.secboot/}"; do
            if [[ $vars != "$name" && -r $(dirname "$1")/$vars ]]; then
                printf '%s/%s\n' "$(dirname "$1")" "$vars"
                return 0
            fi
        done
    done
    return 1
}

bochs_rom() {
    local dir
    for dir in ${BXSHARE:+"$BXSHARE"} /usr/share/bochs /usr/local/share/bochs; do
        if [[ ${CAIRN_HIDE:-} != "$1" && -r $dir/$1 ]]; then
            printf '%s\n' "$dir/$1"
            return 0
        fi
    done
    return 1
}

has_display() { [[ -n ${DISPLAY:-}${WAYLAND_DISPLAY:-} ]]; }

has_tool() {
    case $1 in
        grub-mkrescue | grub-file) grub_tool "${1#grub-}" >/dev/null ;;
        grub-font) grub_font >/dev/null ;;
        grub-i386-pc) grub_platform_dir i386-pc >/dev/null ;;
        grub-x86_64-efi) grub_platform_dir x86_64-efi >/dev/null ;;
        pytest) python_with pytest >/dev/null ;;
        pexpect) python_with "pytest, pexpect" >/dev/null ;; # in the same interpreter
        ovmf) ovmf_file >/dev/null ;;
        bochs-bios) bochs_rom BIOS-bochs-latest >/dev/null ;;
        bochs-vgabios) bochs_rom VGABIOS-lgpl-latest >/dev/null ;;
        libc-headers) command -v gcc >/dev/null && gcc -E -x c - <<<'#include <stdlib.h>' >/dev/null 2>&1 ;;
        llvm-rt) [[ -n $(clang_runtime) ]] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# The sanitizers' library of the clang in use, empty when it is not there.
clang_runtime() {
    local dir
    command -v clang >/dev/null || return 0
    dir=$(clang -print-resource-dir 2>/dev/null) || return 0
    find "$dir/lib" -name 'libclang_rt.asan*x86_64*.a' -o -path '*x86_64*/libclang_rt.asan.a' 2>/dev/null | head -n 1
}

package_of() {
    # Debian 12 names the library after its version (libclang-rt-14-dev), as does Ubuntu 24.04.
    if [[ $1 == llvm-rt ]]; then
        local major=14
        if command -v clang >/dev/null; then
            major=$(clang -dumpversion | cut -d. -f1)
        elif grep -qs '^VERSION_ID="24\.04"' /etc/os-release; then
            major=18
        fi
        printf 'libclang-rt-%s-dev\n' "$major"
        return 0
    fi
    tool_table | awk -v tool="$1" '$1 == tool { print $2; found = 1 } END { exit !found }'
}

# need TOOL...: names what is missing and installs it with apt, as root or through sudo. On a system without apt-get
# nothing is attempted.
need() {
    local tool missing=() packages=()
    for tool in "$@"; do
        if ! has_tool "$tool"; then
            missing+=("$tool")
            packages+=("$(package_of "$tool")") || fail "no package is known for the tool $tool"
        fi
    done
    if ((${#missing[@]} == 0)); then
        return 0
    fi
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
    say "missing: ${missing[*]}"
    if ! command -v apt-get >/dev/null; then
        say "this is not Debian or Ubuntu; nothing is installed for you. There it would be:"
        say "    sudo apt-get install ${packages[*]}"
        exit 1
    fi
    install_packages "${packages[@]}"
    for tool in "${missing[@]}"; do
        has_tool "$tool" || fail "$tool is still missing after installing $(package_of "$tool")"
    done
}

install_packages() {
    local run=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || fail "not root and no sudo; as root: apt-get install $*"
        run=(sudo -n)
        sudo -n true 2>/dev/null || run=(sudo)
        if [[ ${run[*]} == sudo && ! -t 0 ]]; then
            fail "sudo wants a password and there is no terminal; run: sudo apt-get install $*"
        fi
    fi
    run+=(env DEBIAN_FRONTEND=noninteractive apt-get -y -q)
    say "installing: $*"
    if ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; then
        "${run[@]}" update >&2 || fail "apt-get update failed"
    fi
    # An old list may name packages that the archive no longer has: one retry with a new one.
    if ! "${run[@]}" install --no-install-recommends "$@" >&2; then
        say "trying again with fresh package lists"
        "${run[@]}" update >&2 || fail "apt-get update failed"
        "${run[@]}" install --no-install-recommends "$@" >&2 || fail "apt-get could not install: $*"
    fi
}

# --- builds ---

BUILD_TOOLS=(cmake ninja gcc nasm ld libc-headers python3 grub-font flock)
ISO_TOOLS=(objcopy grub-mkrescue grub-file xorriso mformat)
RUN_TOOLS=(python3 timeout)
QEMU_TOOLS=(qemu-system-x86_64)
UEFI_TOOLS=(grub-x86_64-efi ovmf)
BOCHS_TOOLS=(bochs bochs-bios bochs-vgabios)
TEST_TOOLS=(clang llvm-rt pytest pexpect gdb nm grub-i386-pc "${QEMU_TOOLS[@]}" "${UEFI_TOOLS[@]}" "${BOCHS_TOOLS[@]}")
# shellcheck disable=SC2034 # for those who source this file
readonly BUILD_TOOLS ISO_TOOLS RUN_TOOLS QEMU_TOOLS UEFI_TOOLS BOCHS_TOOLS TEST_TOOLS

# build PRESET [TARGET...]: configures where that was not done, then builds; quiet unless it fails. One build at a time,
# so that parallel runs may call it. A build without anything to do takes a fraction of a second and touches nothing.
build() { build_in "$1" "$CAIRN_BUILD/$1" '' "${@:2}"; }

# build_in PRESET DIR -DNAME=VALUE|'' [TARGET...]: the same with one setting of its own, in a folder of its own.
build_in() {
    local preset=$1 dir=$2 setting=$3 log
    shift 3
    mkdir -p "$CAIRN_BUILD"
    log=$(mktemp "$CAIRN_BUILD/.log.XXXXXX")
    (
        flock 9
        cd "$CAIRN_ROOT" || exit 1
        if [[ ! -e $dir/build.ninja || CMakePresets.json -nt $dir/build.ninja ]] ||
            ! has_setting "$dir" "$setting"; then
            cmake --preset "$preset" -B "$dir" ${setting:+"$setting"} >"$log" 2>&1 || exit 1
        fi
        cmake --build "$dir" ${1:+--target "$@"} >>"$log" 2>&1
    ) 9>"$CAIRN_BUILD/.lock" || {
        cat "$log" >&2
        rm -f "$log"
        fail "the build of preset $preset in ${dir#"$CAIRN_ROOT"/} failed"
    }
    rm -f "$log"
}

has_setting() {
    local name=${2#-D}
    [[ $name ]] || return 0
    grep -qxE "${name%%=*}:[A-Z]+=${name#*=}" "$1/CMakeCache.txt"
}

# bytes_of SIZE: 256M, 5G, 4T, or plain bytes.
bytes_of() {
    local number unit
    [[ $1 =~ ^([0-9]{1,15})([KMGTkmgt]?)$ ]] || return 1
    number=$((10#${BASH_REMATCH[1]}))
    unit=${BASH_REMATCH[2]^^}
    case $unit in
        K) number=$((number << 10)) ;;
        M) number=$((number << 20)) ;;
        G) ((number < 1 << 23)) && number=$((number << 30)) || return 1 ;;
        T) ((number < 1 << 13)) && number=$((number << 40)) || return 1 ;;
    esac
    printf '%s\n' "$number"
}
