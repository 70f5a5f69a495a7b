# shellcheck shell=bash
# All parts of this folder, and the one thing that `make up` and the tests both begin with. To be sourced instead of the parts.
. "${BASH_SOURCE[0]%/*}/common.sh"
. scripts/lib/settings.sh
. scripts/lib/engine.sh
. scripts/lib/checks.sh
. scripts/lib/certificates.sh
. scripts/lib/base-image.sh
. scripts/machine/apt.sh
. scripts/machine/install.sh
. scripts/machine/daemon.sh
. scripts/machine/debootstrap.sh

# prepare_machine: afterwards an engine that is new enough answers, has room, and has the base image.
prepare_machine() {
    prepare_engine
    pass_certificates
    if has_image "$(setting BASE_IMAGE "$public_base")"; then check_disk 2; else check_disk 6; fi
    choose_base
}

# progress: how builds show theirs; lines where nobody watches, so that a log reads well.
progress() { if at_terminal; then say auto; else say plain; fi; }
