# shellcheck shell=bash
# Sources all parts in lib/ and machine/, and defines the first step of `make up` and of the tests.
. "${BASH_SOURCE[0]%/*}/common.sh"
. scripts/lib/settings.sh
. scripts/lib/site.sh
. scripts/lib/engine.sh
. scripts/lib/checks.sh
. scripts/lib/certificates.sh
. scripts/lib/base-image.sh
. scripts/machine/apt.sh
. scripts/machine/install.sh
. scripts/machine/daemon.sh
. scripts/machine/debootstrap.sh

# prepare_machine: afterwards there is a running engine, new enough, with enough disk space and the base image.
prepare_machine() {
    prepare_engine
    pass_certificates
    if has_image "$(setting BASE_IMAGE "$public_base")"; then check_disk 2; else check_disk 6; fi
    choose_base
}

# progress: prints the format of a build's progress. In a log it is plain lines.
progress() { if at_terminal; then say auto; else say plain; fi; }
