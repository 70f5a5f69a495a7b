# shellcheck shell=bash
# Builds a base image from Debian's packages, where no registry is reachable.

# build_base [SUITE IMAGE]: builds a Debian with essential packages only, from this host's mirror, with today's updates.
build_base() {
    local suite=${1:-trixie} image=${2:-$own_base} codename from mirror work previous
    is_root || stop "Building the base image needs root (debootstrap): run \`sudo make base\` once, then continue without sudo."
    if ! have debootstrap; then
        go_on "debootstrap is needed to build the base image. Install it?" || stop "Nothing was changed: debootstrap is needed to build the base image."
        refresh_package_lists
        install_packages debootstrap
    fi
    codename=$(os_release VERSION_CODENAME)
    from=$(debian_source "$suite")
    [[ $from ]] || from=$(debian_source "$codename")
    mirror=$(plain_mirror "$from") ||
        stop "No address of a Debian mirror was found in /etc/apt: add one (deb ADDRESS $codename main) to /etc/apt/sources.list, then run make again."
    step "Building the base image $image from $mirror (about a minute)"
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/sluice-base.XXXXXX")
    at_exit "rm -rf --one-file-system $work"
    previous=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null) || previous=
    images/base/build "$work" "$mirror" "$(security_mirror "$codename" "$suite")" "$suite" "$image" ||
        stop "The base image could not be built: see the lines above. The mirror $mirror must be reachable, and ${work%/*} must allow devices and programs (or set TMPDIR to a folder that does)."
    # Images that derive from the previous one keep its layers.
    [[ -z $previous ]] || docker image rm "$previous" >/dev/null 2>&1 || true
    say "Built $image ($(docker image inspect --format '{{.Size}}' "$image" | awk '{ printf "%d MB", $1 / 1e6 }'))."
}

# security_mirror CODENAME SUITE: prints the mirror of SUITE's security updates, from the sources of this host (CODENAME), or nothing.
security_mirror() {
    local from
    from=$(debian_source "$2-security")
    [[ $from ]] || from=$(debian_source "$1-security")
    if [[ $from ]]; then plain_mirror "$from" || true; fi
}
