#!/bin/sh
# The guestbook's page: entries come from the backend; a posted entry goes to it.
# (Debian 12's busybox dies of its own wget -T, so timeout limits the time.)
backend="http://${BACKEND:-guestbook-backend}/cgi-bin/entries.cgi"

if [ "$REQUEST_METHOD" = POST ]; then
    body=$(head -c "${CONTENT_LENGTH:-0}")
    if timeout 5 wget -q -O /dev/null --header "X-Token: $TOKEN" --post-data "$body" "$backend"; then
        printf 'Status: 303 See Other\r\nLocation: /\r\n\r\n'
    else
        printf 'Status: 502 Bad Gateway\r\nContent-Type: text/plain\r\n\r\nThe backend did not take the entry.\n'
    fi
    exit
fi

read_entries() { # three tries: a lost packet or a backend on its way to another node is no reason for an error page
    for pause in 0.2 0.5 0; do
        timeout 2 wget -q -O - --header "X-Token: $TOKEN" "$backend" && return
        sleep "$pause"
    done
    return 1
}
entries=$(read_entries) || {
    printf 'Status: 502 Bad Gateway\r\nContent-Type: text/plain\r\n\r\nThe backend does not answer.\n'
    exit
}
printf 'Content-Type: text/html; charset=utf-8\r\n\r\n'
cat <<PAGE
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$TITLE</title></head>
<body>
<h1>$TITLE</h1>
<p>$GREETING</p>
<form method="post" action="/cgi-bin/index.cgi">
<input name="name" placeholder="Name" maxlength="40"> <input name="message" placeholder="Message" maxlength="200" size="60">
<button>Sign</button>
</form>
<ul>
$entries
</ul>
<p><small>version $(cat /version), served by pod $(hostname)</small></p>
</body></html>
PAGE
