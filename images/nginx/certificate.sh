# shellcheck shell=bash
# The certificate for TLS=self-signed and TLS=own. Source it after nginx-settings.sh. Certificate and key are in one PEM file, so that a
# new pair replaces the old one atomically; nginx reads it at each handshake.

certificates=/var/lib/sluice/tls
certificate=$certificates/$TLS.pem
how_to_hand_over='run make certificate TLS_CERTIFICATE=… TLS_KEY=…'
readonly day=86400

# prepare_certificate: ends the container with one sentence unless there is a certificate that nginx can use.
prepare_certificate() {
    local fault
    case $TLS in
        off) return 0 ;;
        self-signed)
            fault=$(fault_of "$certificate") || true
            if [[ $fault ]] || ends_within 30 "$certificate"; then make_certificate; fi
            ;;
        own)
            fault=$(fault_of "$certificate" || is_own_issuer "$certificate") && refuse "TLS=own: $fault"
            if ends_within 14 "$certificate"; then
                printf 'sluice %s: the certificate ends %s: renew it, then run make certificate\n' "$SERVICE" "$(end_of "$certificate")" >&2
            fi
            ;;
    esac
    printf 'sluice %s: HTTPS for %s, certificate until %s, SHA-256 %s\n' "$SERVICE" "$site_name" "$(end_of "$certificate")" "$(fingerprint "$certificate")" >&2
}

# make_certificate: creates a self-signed one for the site's name. Apple's systems accept at most 825 days. CA:FALSE: somebody who trusts
# it trusts this site only.
make_certificate() {
    local kind=DNS name=${site_name//[\[\]]/}
    is_address "$name" && kind=IP
    umask 077
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 825 -subj "/CN=Sluice, signed by itself" \
        -addext "subjectAltName=$kind:$name" -addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature \
        -addext extendedKeyUsage=serverAuth -keyout "$certificate.key" -out "$certificate.new" 2>/dev/null ||
        refuse "no certificate could be written to $certificates: it must be writable for user $(id -u), with 8 KiB free"
    cat "$certificate.key" >>"$certificate.new"
    rm "$certificate.key"
    mv "$certificate.new" "$certificate"
    printf 'sluice %s: created a certificate for %s; browsers warn until they trust it: docs/how-to/tls.md\n' "$SERVICE" "$name" >&2
}

# fault_of FILE: prints why nginx can't use it for the site. Fails if nginx can use it.
fault_of() {
    local file=$1 name=${site_name//[\[\]]/} check=-checkhost kind=DNS names
    if [[ ! -e $file ]]; then
        printf 'there is no certificate yet: %s' "$how_to_hand_over"
    elif [[ ! -r $file ]]; then
        printf '%s is not readable for user %s: remove it, then %s' "$file" "$(id -u)" "$how_to_hand_over"
    elif ! openssl x509 -in "$file" -noout 2>/dev/null; then
        printf 'there is no certificate in the file: it must be PEM, -----BEGIN CERTIFICATE-----'
    elif ! openssl pkey -in "$file" -passin pass: -noout 2>/dev/null; then
        printf 'there is no private key in the file, or it has a passphrase: it must be PEM, -----BEGIN PRIVATE KEY-----, without a passphrase'
    elif [[ $(openssl x509 -in "$file" -noout -pubkey) != "$(openssl pkey -in "$file" -passin pass: -pubout)" ]]; then
        printf "the key does not belong to the certificate: use the key of the certificate's request; the site's own certificate must be the first in its file"
    elif ! openssl x509 -in "$file" -noout -checkend 0 >/dev/null; then
        printf 'the certificate ended %s: renew it, then %s' "$(end_of "$file")" "$how_to_hand_over"
    elif (($(date --date "$(date_of -startdate "$file")" +%s) > $(date +%s))); then
        printf "the certificate isn't valid before %s: check the clock of this machine" "$(date_of -startdate "$file")"
    else
        is_address "$name" && check=-checkip kind=IP
        names=$(names_of "$file")
        # Without a list of names, OpenSSL accepts the subject's common name. Browsers don't.
        if [[ ! $names ]]; then
            printf "the certificate lists no names (subjectAltName), which browsers require: it must be issued for %s:%s" "$kind" "$name"
        else
            [[ $names != *"$kind"* || $(openssl x509 -in "$file" -noout "$check" "$name") != *' does match '* ]] || return 1
            printf 'the certificate is for %s, not for %s, the name in SITE_URL' "$names" "$name"
        fi
    fi
}

# is_own_issuer FILE: prints that it is self-signed. Fails if it isn't.
is_own_issuer() {
    [[ $(openssl x509 -in "$1" -noout -subject_hash) == "$(openssl x509 -in "$1" -noout -issuer_hash)" ]] || return 1
    printf 'the certificate is self-signed, and with TLS=own browsers are told to reject such certificates for a year (HSTS): use TLS=self-signed'
}

is_address() { [[ $1 =~ ^($ipv4|$ipv6)$ ]]; }
ends_within() { ! openssl x509 -in "$2" -noout -checkend $(($1 * day)) >/dev/null; }
date_of() { openssl x509 -in "$2" -noout "$1" | cut --delimiter== --fields=2; }
end_of() { date --utc --date "$(date_of -enddate "$1")" +%Y-%m-%d; }
fingerprint() { openssl x509 -in "$1" -noout -fingerprint -sha256 | cut --delimiter== --fields=2; }
names_of() { openssl x509 -in "$1" -noout -ext subjectAltName 2>/dev/null | sed -n '2s/^ *//p'; }
