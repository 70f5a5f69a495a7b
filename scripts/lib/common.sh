# shellcheck shell=bash
# What all scripts of this folder share: strictness, the repository as working folder, messages. To be sourced first.
set -euo pipefail
shopt -s inherit_errexit

unset CDPATH
cd "${BASH_SOURCE[0]%/*}/../.."

# A plain user's PATH, or that of `su`, lacks the folders of dockerd, iptables and debootstrap.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# Messages of the programs that are asked for their opinion are read, so they have to be English.
export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*"; }

# step TITLE: what comes next, so that somebody who waits knows for what.
step() { printf '\n==> %s\n' "$*"; }

# stop SENTENCE: the end, with what is wrong and the cure, on one line.
stop() {
    printf '\nsluice: %s\n' "$*" >&2
    exit 1
}

is_root() { ((EUID == 0)); }

# at_terminal: somebody is there to answer. A pipe, cron and CI are not asked, they go on.
at_terminal() { [[ -t 0 && -t 1 ]]; }

# go_on QUESTION [DEFAULT]: asks at a terminal; an empty answer is DEFAULT (y). Without a terminal the answer is yes.
go_on() {
    local answer choices='[Y/n]'
    at_terminal || return 0
    [[ ${2:-y} == n ]] && choices='[y/N]'
    read -rp "$1 $choices " answer || answer=n
    [[ ${answer:-${2:-y}} == [yY]* ]]
}

# version_at_least HAVE LEAST: compares dotted versions; a leading v and Debian's suffixes do no harm.
version_at_least() { printf '%s\n%s\n' "$2" "${1#v}" | sort -VC; }

# process_namespace: a number; a process id means something only within it.
process_namespace() { readlink /proc/self/ns/pid | tr -dc 0-9; }

# have COMMAND: it is on the PATH.
have() { type -P "$1" >/dev/null; }

# at_exit COMMAND: run when the script ends, however it does, the last one given first.
at_exit() {
    exit_commands=("$1" "${exit_commands[@]}")
    trap 'for command in "${exit_commands[@]}"; do eval "$command"; done' EXIT
}
exit_commands=()
