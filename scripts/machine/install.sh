# shellcheck shell=bash
# Installs the missing ones of Docker Engine, its client, Buildx and Compose, from Debian's packages.

# prepare_engine: like require_engine, but installs what is missing, after asking, and starts the daemon.
prepare_engine() {
    local missing=()
    own_engine_only
    prefer_complete_client
    if have docker && engine_answers; then
        require_engine_version
        # Debian 12's docker-compose is v1. If it is installed, it is not replaced, but require_versions reports it.
        has_buildx || mapfile -t missing < <(missing_packages docker-buildx)
        has_compose || mapfile -t -O "${#missing[@]}" missing < <(missing_packages docker-compose)
        ((${#missing[@]} == 0)) || install_engine "${missing[@]}"
    else
        [[ $engine_error != *'permission denied'* ]] || stop "$(why_silent)"
        { have dockerd && have docker; } || install_engine docker.io docker-cli docker-buildx docker-compose iptables ca-certificates debootstrap
        prefer_complete_client
        engine_answers || start_daemon
    fi
    require_versions
}

# install_engine PACKAGE...: installs those that are missing, from Debian, after asking.
install_engine() {
    local system codename packages lacking suite=''
    mapfile -t packages < <(missing_packages "$@")
    lacking="These packages are missing: ${packages[*]}"
    [[ $(setting INSTALL_ENGINE yes) != no ]] ||
        stop "$lacking. INSTALL_ENGINE=no forbids installing them: install $minimums or newer yourself, or run make without it."
    [[ -n $(missing_packages docker-ce) ]] ||
        stop "$lacking. The engine is Docker's own (docker-ce), which Debian's packages can't complete: \`sudo apt-get install docker-buildx-plugin docker-compose-plugin\`, then run make again."
    system=$(os_release ID) codename=$(os_release VERSION_CODENAME)
    case $system:$codename in
        debian:bookworm) suite=trixie ;; # its own Compose is v1
        debian:trixie) ;;
        *) stop "make installs the engine on Debian 12 and 13 only, this is $(os_release PRETTY_NAME): install $minimums or newer yourself, then run make again." ;;
    esac
    is_root || stop "$lacking. Installing them needs root: run \`sudo make up\`."

    step "$lacking"
    say "make will"
    if [[ $suite && ! $(debian_source $suite) ]]; then
        say "  - add Debian's suite $suite from the mirror that this machine uses ($our_source),"
        say "    pinned at 100, so that nothing else is taken from it ($our_pin);"
    fi
    say "  - install them from Debian's packages, without recommended ones, if nothing else is upgraded or removed;"
    say "  - start the engine's daemon."
    go_on "Go on?" || stop "Nothing was changed. To do it yourself, install $minimums or newer and run make again."

    refresh_package_lists
    [[ -z $suite ]] || add_suite $suite "$codename"
    mapfile -t packages < <(from_suite "$suite" "${packages[@]}")
    install_packages "${packages[@]}"
    suite_needed=yes
    hash -r
}

# from_suite SUITE PACKAGE...: prints apt's names: the engine's packages from that suite (if not empty), others from the host's.
from_suite() {
    local package suite=$1
    shift
    for package; do
        if [[ $suite && $package == docker* ]]; then say "$package/$suite"; else say "$package"; fi
    done
}

# add_suite SUITE CODENAME: adds a source for SUITE with CODENAME's mirror. Removes it again if the installation fails.
add_suite() {
    local source
    [[ -z $(debian_source "$1") ]] || return 0
    source=$(debian_source "$2")
    [[ $source ]] || stop "No source of Debian's $2 was found in /etc/apt, so the mirror for $1 is unknown: add one to /etc/apt/sources.list, then run make again."
    at_exit '[[ ${suite_needed-} ]] || rm -f "$our_source" "$our_pin"'
    mkdir -p "${our_source%/*}" "${our_pin%/*}"
    {
        say "# Written by Sluice's make: Docker Engine and Compose for Debian 12. $our_pin excludes everything else."
        as_source "$source" "$1"
    } >"$our_source"
    printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n' "$1" >"$our_pin"
    refresh_package_lists
}

# os_release NAME: prints a value of /etc/os-release.
os_release() { (
    # shellcheck disable=SC1091
    . /etc/os-release && printf '%s' "${!1-}"
); }
