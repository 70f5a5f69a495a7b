# Reads apt's sources in both formats (FILENAME ends in .list or .sources). Prints a line for each address and suite, with five fields,
# separated by tabs: address, suite, components, key (a path, or a block of text with \037 for newlines), options.
# Options have the form of .sources ("Architectures: amd64"), separated by \036; only those that concern trust are kept.

BEGIN {
    OFS = "\t"
    kept["arch"] = "Architectures"; kept["architectures"] = "Architectures"
    kept["trusted"] = "Trusted"
    kept["check-valid-until"] = "Check-Valid-Until"
    kept["check-date"] = "Check-Date"
}

FNR == 1 { finish_stanza() }
{ sub(/\r$/, "") }

FILENAME ~ /\.list$/ {
    sub(/#.*/, "")
    if ($1 != "deb") next
    options = ""; key = ""
    if (match($0, /\[[^]]*\]/)) {
        read_options(substr($0, RSTART + 1, RLENGTH - 2))
        $0 = substr($0, 1, RSTART - 1) " " substr($0, RSTART + RLENGTH)
    }
    components = ""
    for (i = 4; i <= NF; i++) components = components (i > 4 ? " " : "") $i
    print $2, $3, components, key, options
    next
}

/^#/ { next }
/^[ \t]*$/ { finish_stanza(); next }
/^[ \t]/ { field[name] = field[name] "\037" $0; next }
{
    name = tolower(substr($0, 1, index($0, ":") - 1))
    field[name] = trimmed(substr($0, index($0, ":") + 1))
}

END { finish_stanza() }

function read_options(text,    parts, n, i, at, option) {
    n = split(text, parts, /[ \t]+/)
    for (i = 1; i <= n; i++) {
        at = index(parts[i], "=")
        option = tolower(substr(parts[i], 1, at - 1))
        if (option == "signed-by") key = substr(parts[i], at + 1)
        else if (option in kept) add_option(kept[option], substr(parts[i], at + 1))
    }
}

function add_option(title, value) {
    gsub(/,/, " ", value)
    options = options (options == "" ? "" : "\036") title ": " value
}

function finish_stanza(    addresses, suites, n, m, i, j, f) {
    if (" " field["types"] " " ~ / deb / && tolower(field["enabled"]) !~ /^(no|false|0)$/) {
        options = ""
        for (f in kept) if (f in field) add_option(kept[f], field[f])
        n = split(field["uris"], addresses, /[ \t\037]+/)
        m = split(field["suites"], suites, /[ \t\037]+/)
        for (i = 1; i <= n; i++)
            for (j = 1; j <= m; j++)
                if (addresses[i] != "" && suites[j] != "")
                    print addresses[i], suites[j], one_line(field["components"]), field["signed-by"], options
    }
    split("", field)
    name = ""
}

function one_line(text) { gsub(/[ \t\037]+/, " ", text); return trimmed(text) }
function trimmed(text) { sub(/^[ \t]+/, "", text); sub(/[ \t]+$/, "", text); return text }
