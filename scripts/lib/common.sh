# shellcheck shell=bash
# For all scripts: strict mode, the repository as the working folder, messages. Source it first.
set -euo pipefail
shopt -s inherit_errexit

unset CDPATH
cd "${BASH_SOURCE[0]%/*}/../.."

# The folders of dockerd, iptables and debootstrap are not in the PATH of a plain user, or of `su`.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# The scripts parse messages of other programs, so those must be English.
export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*"; }

# step TITLE: prints the heading of the next step.
step() { printf '\n==> %s\n' "$*"; }

# stop SENTENCE: ends the script with one line: the problem, then the fix.
stop() {
    printf '\nsluice: %s\n' "$*" >&2
    exit 1
}

is_root() { ((EUID == 0)); }

# at_terminal: whether somebody can answer a question. In a pipe, in cron or in CI, nobody can.
at_terminal() { [[ -t 0 && -t 1 ]]; }

# go_on QUESTION [DEFAULT]: asks at a terminal; an empty answer is DEFAULT (y). Without a terminal the answer is yes.
go_on() {
    local answer choices='[Y/n]'
    at_terminal || return 0
    [[ ${2:-y} == n ]] && choices='[y/N]'
    read -rp "$1 $choices " answer || answer=n
    [[ ${answer:-${2:-y}} == [yY]* ]]
}

# version_at_least HAVE LEAST: compares dotted versions, with or without a leading v or Debian's suffixes.
version_at_least() { printf '%s\n%s\n' "$2" "${1#v}" | sort -VC; }

# process_namespace: prints the number of the namespace in which process ids are valid.
process_namespace() { readlink /proc/self/ns/pid | tr -dc 0-9; }

# have COMMAND: whether it is on the PATH.
have() { type -P "$1" >/dev/null; }

# at_exit COMMAND: runs it when the script ends in any way. The last command runs first.
at_exit() {
    exit_commands=("$1" "${exit_commands[@]}")
    trap 'for command in "${exit_commands[@]}"; do eval "$command"; done' EXIT
}
exit_commands=()
