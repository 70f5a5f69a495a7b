# shellcheck shell=bash
# Building a base image from Debian's packages, where no registry can be reached.

# build_base [SUITE IMAGE]: a Debian of nothing but essential packages, from the mirror that this host uses, with today's updates.
build_base() {
    local suite=${1:-trixie} image=${2:-$own_base} codename from mirror work previous
    is_root || stop "Making the base image needs root (debootstrap): run \`sudo make base\` once, then go on without."
    if ! have debootstrap; then
        go_on "debootstrap is needed to make the base image. Install it?" || stop "Nothing was changed: debootstrap is needed to make the base image."
        refresh_package_lists
        install_packages debootstrap
    fi
    codename=$(os_release VERSION_CODENAME)
    from=$(debian_source "$suite")
    [[ $from ]] || from=$(debian_source "$codename")
    mirror=$(plain_mirror "$from") ||
        stop "No address of a Debian mirror was found in /etc/apt: add one (deb ADDRESS $codename main) to /etc/apt/sources.list, then run make again."
    step "Making the base image $image from $mirror (about a minute)"
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/sluice-base.XXXXXX")
    at_exit "rm -rf --one-file-system $work"
    previous=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null) || previous=
    images/base/build "$work" "$mirror" "$(security_mirror "$codename" "$suite")" "$suite" "$image" ||
        stop "The base image could not be made: the lines above say why; the mirror $mirror must be reachable and ${work%/*} must allow devices and programs (or set TMPDIR to a folder that does)."
    # What was built on the previous one keeps its layers, and only those.
    [[ -z $previous ]] || docker image rm "$previous" >/dev/null 2>&1 || true
    say "Made $image ($(docker image inspect --format '{{.Size}}' "$image" | awk '{ printf "%d MB", $1 / 1e6 }'))."
}

# security_mirror CODENAME SUITE: where this host, which is CODENAME, gets Debian's security updates for SUITE, or nothing.
security_mirror() {
    local from
    from=$(debian_source "$2-security")
    [[ $from ]] || from=$(debian_source "$1-security")
    if [[ $from ]]; then plain_mirror "$from" || true; fi
}
