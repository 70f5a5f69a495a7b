# shellcheck shell=bash
# Certificates: this host's authorities, which builds need behind a proxy that inspects TLS, and the site's certificate for TLS=own.

readonly host_authorities=/usr/local/share/ca-certificates

# pass_certificates: makes compose pass this host's own authorities, if it has any, to the build stages. They are not shipped.
pass_certificates() {
    local folder
    folder=$(setting CA_CERTIFICATES)
    if [[ -z $folder && -n $(find -L "$host_authorities" -maxdepth 1 -name '*.crt' -print -quit 2>/dev/null) ]]; then
        remember CA_CERTIFICATES "$host_authorities"
        folder=$host_authorities
    fi
    [[ -z $folder || -d $folder ]] ||
        stop "CA_CERTIFICATES=$folder is not a folder: it must contain the *.crt of your certificate authorities, or not be set."
}

# certificate_files: stops unless the user who runs make can read the files of TLS=own.
certificate_files() {
    local name file
    for name in TLS_CERTIFICATE TLS_KEY; do
        file=$(setting "$name")
        [[ $file ]] || stop "$name isn't set: with TLS=own it names the file of your $(what_is "$name"), in .env or as in \`make up TLS=own TLS_CERTIFICATE=… TLS_KEY=…\`."
        [[ -f $file ]] || stop "$name=$file is not a file: it must be your $(what_is "$name"), in PEM."
        [[ -r $file ]] || stop "You can't read $name=$file: run make with sudo."
    done
}

what_is() { if [[ $1 == TLS_KEY ]]; then say "certificate's private key"; else say certificate; fi; }

# hand_certificate_over: writes the files into nginx's volume, in a container of nginx's image. nginx need not run.
hand_certificate_over() {
    given_certificate | with_nginx_image take-certificate ||
        stop "The certificate can't be used: see the line above, and docs/how-to/tls.md."
}

# with_nginx_image PROGRAM [ARGUMENT...]: runs it in a new container with nginx's settings and volumes.
with_nginx_image() {
    COMPOSE_FILE=$(compose_files):scripts/rehearsal.yaml docker compose run --rm --no-deps --no-TTY --entrypoint "$1" nginx "${@:2}"
}

# given_certificate: both files, in the form that images/nginx/take-certificate reads.
given_certificate() {
    cat "$(setting TLS_CERTIFICATE)"
    echo
    cat "$(setting TLS_KEY)"
}
