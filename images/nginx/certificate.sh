# shellcheck shell=bash
# The certificate of TLS=self-signed and TLS=own, as this file is sourced after nginx-settings.sh. Certificate and key are one file of PEM,
# so that a new pair replaces the old at one stroke; nginx reads it at each handshake.

certificates=/var/lib/sluice/tls
certificate=$certificates/$TLS.pem
how_to_hand_over='make certificate TLS_CERTIFICATE=… TLS_KEY=… hands it over'
readonly day=86400

# prepare_certificate: the one that nginx is to use is there and can be right; or the end of the container, with one sentence.
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
                printf 'sluice %s: the certificate ends %s; renew it, then make certificate takes it up\n' "$SERVICE" "$(end_of "$certificate")" >&2
            fi
            ;;
    esac
    printf 'sluice %s: HTTPS for %s, certificate until %s, SHA-256 %s\n' "$SERVICE" "$site_name" "$(end_of "$certificate")" "$(fingerprint "$certificate")" >&2
}

# make_certificate: for the site's name, signed by itself. 825 days are the most that Apple's systems take; no authority (CA:FALSE), so that
# whoever trusts it trusts this site and no other.
make_certificate() {
    local kind=DNS name=${site_name//[\[\]]/}
    is_address "$name" && kind=IP
    umask 077
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 825 -subj "/CN=Sluice, signed by itself" \
        -addext "subjectAltName=$kind:$name" -addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature \
        -addext extendedKeyUsage=serverAuth -keyout "$certificate.key" -out "$certificate.new" 2>/dev/null ||
        refuse "no certificate could be made in $certificates: it must be writable for user $(id -u), and hold 8 KiB more"
    cat "$certificate.key" >>"$certificate.new"
    rm "$certificate.key"
    mv "$certificate.new" "$certificate"
    printf 'sluice %s: made a certificate for %s; browsers warn until they are told to trust it: docs/how-to/tls.md\n' "$SERVICE" "$name" >&2
}

# fault_of FILE: prints in words why nginx can't serve the site with it; fails where it can.
fault_of() {
    local file=$1 name=${site_name//[\[\]]/} check=-checkhost kind=DNS names
    if [[ ! -e $file ]]; then
        printf 'there is no certificate yet: %s' "$how_to_hand_over"
    elif [[ ! -r $file ]]; then
        printf '%s is not readable for user %s: remove it, then %s' "$file" "$(id -u)" "$how_to_hand_over"
    elif ! openssl x509 -in "$file" -noout 2>/dev/null; then
        printf 'there is no certificate in what was handed over: it must be PEM, -----BEGIN CERTIFICATE-----'
    elif ! openssl pkey -in "$file" -passin pass: -noout 2>/dev/null; then
        printf 'there is no private key in what was handed over, or it has a passphrase: it must be PEM, -----BEGIN PRIVATE KEY-----, without one'
    elif [[ $(openssl x509 -in "$file" -noout -pubkey) != "$(openssl pkey -in "$file" -passin pass: -pubout)" ]]; then
        printf "the key isn't that of the certificate: hand over the key that it was asked for with; the site's own certificate comes first in its file"
    elif ! openssl x509 -in "$file" -noout -checkend 0 >/dev/null; then
        printf 'the certificate ended %s: renew it, then %s' "$(end_of "$file")" "$how_to_hand_over"
    elif (($(date --date "$(date_of -startdate "$file")" +%s) > $(date +%s))); then
        printf "the certificate isn't valid before %s: see whether the clock of this machine is right" "$(date_of -startdate "$file")"
    else
        is_address "$name" && check=-checkip kind=IP
        names=$(names_of "$file")
        # Where none is listed, OpenSSL takes the subject's common name for one. Browsers don't.
        if [[ ! $names ]]; then
            printf "the certificate lists no names (subjectAltName), and browsers heed no others: it must be issued for %s:%s" "$kind" "$name"
        else
            [[ $names != *"$kind"* || $(openssl x509 -in "$file" -noout "$check" "$name") != *' does match '* ]] || return 1
            printf 'the certificate is for %s, not for %s, which SITE_URL names' "$names" "$name"
        fi
    fi
}

# is_own_issuer FILE: prints in words that it is signed by itself; fails if it isn't.
is_own_issuer() {
    [[ $(openssl x509 -in "$1" -noout -subject_hash) == "$(openssl x509 -in "$1" -noout -issuer_hash)" ]] || return 1
    printf 'the certificate is signed by itself, and with TLS=own browsers are asked for a year to accept no such one (HSTS): use TLS=self-signed'
}

is_address() { [[ $1 =~ ^($ipv4|$ipv6)$ ]]; }
ends_within() { ! openssl x509 -in "$2" -noout -checkend $(($1 * day)) >/dev/null; }
date_of() { openssl x509 -in "$2" -noout "$1" | cut --delimiter== --fields=2; }
end_of() { date --utc --date "$(date_of -enddate "$1")" +%Y-%m-%d; }
fingerprint() { openssl x509 -in "$1" -noout -fingerprint -sha256 | cut --delimiter== --fields=2; }
names_of() { openssl x509 -in "$1" -noout -ext subjectAltName 2>/dev/null | sed -n '2s/^ *//p'; }
