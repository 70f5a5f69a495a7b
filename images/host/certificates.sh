# shellcheck shell=bash
# The host's own certificate authorities: behind a proxy that inspects TLS, the stages that fetch packages need them.

readonly host_authorities=/usr/local/share/ca-certificates

# pass_certificates: has compose hand this host's own authorities, if it has any, to the build stages (never to what ships).
pass_certificates() {
    local folder
    folder=$(setting CA_CERTIFICATES)
    if [[ -z $folder && -n $(find -L "$host_authorities" -maxdepth 1 -name '*.crt' -print -quit 2>/dev/null) ]]; then
        remember CA_CERTIFICATES "$host_authorities"
        folder=$host_authorities
    fi
    [[ -z $folder || -d $folder ]] ||
        stop "CA_CERTIFICATES=$folder is not a folder: it must hold the *.crt of your certificate authorities, or not be set."
}
