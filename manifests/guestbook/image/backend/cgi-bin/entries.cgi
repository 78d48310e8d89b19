#!/bin/sh
# The guestbook's store: GET lists the entries as HTML, POST adds one (a form with name and message). Both need the
# token that the Secret gives to the two tiers.
file="${DATA:-/data}/entries.html"

if [ "$HTTP_X_TOKEN" != "$TOKEN" ]; then
    printf 'Status: 403 Forbidden\r\nContent-Type: text/plain\r\n\r\nwrong token\n'
    exit
fi

field() { # field NAME: its decoded value, safe in HTML, on one line
    value=$(printf '%s' "$body" | tr '&' '\n' | sed -n "s/^$1=//p" | head -n 1 | tr '+' ' ')
    httpd -d "$value" | tr -d '\r\n' | sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/>/\&gt;/g'
}

if [ "$REQUEST_METHOD" = POST ]; then
    body=$(head -c "${CONTENT_LENGTH:-0}")
    # One write of one line: appends of concurrent requests don't mix.
    printf '<li><b>%s</b>: %s</li>\n' "$(field name)" "$(field message)" >>"$file" && sync "$file"
    printf 'Content-Type: text/plain\r\n\r\nok\n'
    exit
fi
printf 'Content-Type: text/html; charset=utf-8\r\n\r\n'
[ ! -e "$file" ] || cat "$file"
