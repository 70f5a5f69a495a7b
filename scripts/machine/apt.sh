# shellcheck shell=bash
# Debian's packages: this host's sources, and installing packages without changing those that are installed.

readonly our_source=/etc/apt/sources.list.d/sluice-trixie.sources our_pin=/etc/apt/preferences.d/sluice-trixie

# apt_sources [FOLDER]: the sources in FOLDER (/etc/apt), one per line, in the format of sources.awk.
apt_sources() {
    local files=()
    mapfile -t files < <(find -L "${1:-/etc/apt}/sources.list" "${1:-/etc/apt}/sources.list.d" -maxdepth 1 -type f \
        \( -name '*.list' -o -name '*.sources' \) 2>/dev/null | sort)
    ((${#files[@]} == 0)) || awk -f scripts/machine/sources.awk "${files[@]}"
}

# debian_source SUITE [FOLDER]: prints the line of the source of Debian's own SUITE. Other vendors may use the same name, so apt's lists
# decide which addresses are Debian's. Before apt has lists, a Debian keyring or path decides.
debian_source() {
    local ours
    ours=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null | sort -u) || ours=
    apt_sources "${2:-/etc/apt}" | awk -F '\t' -v suite="$1" -v ours="$ours" '
        BEGIN { n = split(ours, known, "\n"); for (i = 1; i <= n; i++) debian[bare(known[i])] }
        $2 != suite || " " $3 " " !~ / main / { next }
        bare($1) in debian { print; found = 1; exit }
        $4 ~ /debian-archive/ || $1 ~ /\/debian(-security)?\/?$/ { if (likely == "") likely = $0 }
        END { if (!found && likely != "") print likely }
        function bare(address) { sub(/\/+$/, "", address); return address }'
}

# source_field LINE NUMBER: prints one field of such a line.
source_field() { cut -f "$2" <<<"$1"; }

# plain_mirror LINE: prints the http(s) or file address of a source. Of a list of mirrors on disk (in cloud images), it prints the first.
plain_mirror() {
    local address
    address=$(source_field "$1" 1)
    case $address in
        mirror+file:*) address=$(awk '!/^[ \t]*(#|$)/ { print $1; exit }' "${address#mirror+file:}" 2>/dev/null) || address= ;;
    esac
    [[ $address =~ ^(https?|file): ]] || return 1
    printf '%s' "${address%/}"
}

# as_source LINE SUITE: prints the same source with another suite, in the .sources format, with its key and options.
as_source() {
    local address key options
    address=$(source_field "$1" 1) key=$(source_field "$1" 4) options=$(source_field "$1" 5)
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$address" "$2"
    [[ -z $key ]] || printf 'Signed-By: %s\n' "${key//$'\037'/$'\n'}"
    [[ -z $options ]] || printf '%s\n' "${options//$'\036'/$'\n'}"
}

# missing_packages PACKAGE...: prints those that aren't installed. apt would upgrade an installed one.
missing_packages() {
    local package
    for package; do
        [[ $(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || say "$package"
    done
}

# refresh_package_lists: apt-get update. A failing source doesn't matter, unless a package can't be found later.
refresh_package_lists() {
    step "Reading Debian's package lists"
    apt-get -o DPkg::Lock::Timeout=300 update 2>&1 | tee "$apt_log" || true
}

# install_packages PACKAGE[/SUITE]...: installs them and their dependencies; stops if that would change an installed package.
install_packages() {
    local simulation summary
    if ! simulation=$(apt-get --simulate install --no-install-recommends "$@" 2>&1); then
        stop "apt can't install $*: $(apt_reason <<<"$simulation")"
    fi
    summary=$(grep -E '^[0-9]+ upgraded, ' <<<"$simulation") || summary=
    if [[ ! $summary =~ ^0\ upgraded,\ ([0-9]+)\ newly\ installed,\ 0\ to\ remove ]]; then
        stop "Nothing was installed, because apt would upgrade or remove packages that this machine has (${summary:-no summary}): $(
            changed_packages <<<"$simulation"). Upgrade or remove them yourself first (apt-get install --no-install-recommends $*), then run make again."
    fi
    step "Installing ${BASH_REMATCH[1]} packages: $*"
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        install --no-install-recommends "$@" </dev/null 2>&1 | tee "$apt_log" ||
        stop "apt failed to install $*: $(apt_reason <"$apt_log")"
}

# changed_packages: prints the packages that apt would upgrade ("Inst name [old]") or remove, from a simulation.
changed_packages() { awk '/^Remv / || /^Inst [^ ]+ \[/ { printf "%s%s %s", n++ ? ", " : "", $1 == "Remv" ? "remove" : "upgrade", $2 }'; }

# apt_reason: prints the first error in apt's output, or else its first unmet dependency.
apt_reason() {
    awk '/^E: / && !e { e = substr($0, 4) } /Depends:|Conflicts:|Breaks:/ && !d { d = $0 } END { gsub(/^ +/, "", d); print d && e ? d " (" e ")" : d e }'
}

apt_log=$(mktemp --tmpdir sluice-apt.XXXXXX)
at_exit 'rm -f "$apt_log"'
