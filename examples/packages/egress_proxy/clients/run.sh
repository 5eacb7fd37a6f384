#!/usr/bin/env bash
# Real clients through the proxy, to local origins: plain http, https in a tunnel, a refused host, and an upload.
#
#     examples/packages/egress_proxy/clients/run.sh [ROW...]
#
# Prints a table by version, and fails where a client that is here does not get through. What is not installed is skipped
# with a word. Python and Node packages are installed in a temporary folder.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
[ -n "${BUILT:-}" ] || cargo build --locked --quiet -p egress_proxy || exit 1
proxy=${CARGO_TARGET_DIR:-target}/debug/egress_proxy
work=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
    rm -rf "$work"
}
trap finish EXIT

openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj /CN=origin.test -keyout "$work/key.pem" -out "$work/csr.pem" 2>/dev/null
openssl x509 -req -in "$work/csr.pem" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 2 \
    -extfile <(echo subjectAltName=DNS:origin.test) -out "$work/cert.pem" 2>/dev/null
python3 "$here/origins.py" "$work" >"$work/origins.log" 2>&1 &
pids+=($!)
for _ in $(seq 50); do [ -s "$work/ports" ] && break; sleep 0.1; done
read -r http https dns <"$work/ports"
token=$("$proxy" lease --leases "$work/leases.json" --worker clients)
echo "$token" >"$work/token"
cat >"$work/policy.json" <<CONF
{"rules":[
  {"id":"plain","hosts":["origin.test"],"schemes":["http"],"ports":[$http],"methods":["GET","POST","HEAD"],
   "private_addresses":["127.0.0.1/32"]},
  {"id":"tunnel","hosts":["origin.test"],"ports":[$https],"methods":["CONNECT"],"private_addresses":["127.0.0.1/32"]},
  {"id":"execute","hosts":["origin.test"],"ports":[$https],"methods":["GET","POST"],"paths":["/signed/execute/"],
   "private_addresses":["127.0.0.1/32"],
   "credentials":[{"secret":"vault:aws","sign":{"aws_sigv4":{"region":"eu-central-1","service":"execute-api",
    "access_key":"AKIDEXAMPLE"}}}]},
  {"id":"storage","hosts":["origin.test"],"ports":[$https],"methods":["GET","POST"],"paths":["/signed/storage/"],
   "private_addresses":["127.0.0.1/32"],
   "credentials":[{"secret":"vault:aws","sign":{"aws_sigv4":{"region":"us-east-1","service":"s3",
    "access_key":"AKIDEXAMPLE","payload":"unsigned"}}}]}]}
CONF
export AWS_KEY=wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY
echo "{\"vault:aws\":\"$AWS_KEY\"}" >"$work/secrets.json"
chmod 600 "$work/secrets.json"
"$proxy" --policy "$work/policy.json" --leases "$work/leases.json" --listen 127.0.0.1:0 --dns "127.0.0.1:$dns" \
    --roots "$work/ca.pem" --secrets "$work/secrets.json" --log "$work/log.jsonl" >"$work/listening" &
pids+=($!)
for _ in $(seq 50); do grep -q listening "$work/listening" && break; sleep 0.1; done
address=$(sed 's/listening on //' "$work/listening" | head -1)
host=${address%:*} port=${address##*:}
url="http://lease:$token@$address"
plain="http://origin.test:$http" secure="https://origin.test:$https"
unset no_proxy NO_PROXY
export WORK=$work PROXY_URL=$url PLAIN=$plain SECURE=$secure CA=$work/ca.pem TOKEN=$token PROXY_HOST=$host PROXY_PORT=$port
through() { env http_proxy="$url" https_proxy="$url" HTTP_PROXY="$url" HTTPS_PROXY="$url" SSL_CERT_FILE="$CA" \
    REQUESTS_CA_BUNDLE="$CA" NODE_EXTRA_CA_CERTS="$CA" timeout 60 "$@"; }

wanted=("$@")
failed=0
row() { # name, version, kind...: functions NAME_plain, NAME_secure, NAME_refused, each printing what it got
    local name=$1 version=$2 line kind got
    line="| $name | ${version:-?} |"
    for kind in plain secure refused; do
        if ! declare -F "${name}_$kind" >/dev/null; then line+=" - |"; continue; fi
        got=$("${name}_$kind" 2>"$work/$name.$kind.err")
        case $kind:$got in
            plain:*hello* | secure:*hello*) line+=" yes |" ;;
            refused:*egress.host.not_allowed*) line+=" the code |" ;;
            refused:*403*) line+=" the status |" ;;
            refused:*) line+=" ${got:-nothing} |" ;;
            *) line+=" NO |"; failed=1; echo "$name $kind: $got" >&2; tail -3 "$work/$name.$kind.err" >&2 ;;
        esac
    done
    echo "$line"
}
have() {
    [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $1 "* ]] && return 1
    command -v "$2" >/dev/null || { echo "SKIPPED $1: there is no $2" >&2; return 1; }
}
echo "| client | version | http | https | what it shows of a refused CONNECT |"
echo "|---|---|---|---|---|"

if have curl curl; then
    curl_plain() { through curl -sS "$plain/hello"; }
    curl_secure() { through curl -sS --cacert "$CA" "$secure/hello"; }
    curl_refused() { through curl -sSv https://elsewhere.test/ 2>&1; }
    row curl "$(curl --version | awk 'NR==1 {print $2}')"
fi
if have wget wget; then
    wget_plain() { through wget -qO- "$plain/hello"; }
    wget_secure() { through wget -qO- --ca-certificate="$CA" "$secure/hello"; }
    wget_refused() { through wget -O- https://elsewhere.test/ 2>&1; }
    row wget "$(wget --version | awk 'NR==1 {print $3}')"
fi
if have python python3 && python3 -m venv "$work/venv" 2>/dev/null &&
    "$work/venv/bin/pip" install -q --disable-pip-version-check requests==2.32.5 httpx==0.28.1 aiohttp==3.13.2 2>"$work/pip.err"; then
    python=$work/venv/bin/python
    for client in urllib requests httpx aiohttp; do
        for kind in plain secure refused; do
            eval "${client}_$kind() { through $python '$here/python.py' $client $kind; }"
        done
        row $client "$($python "$here/python.py" $client version)"
    done
    pip_plain() { (cd "$work" && through "$work/venv/bin/pip" download -q --no-deps --index-url "$plain/simple" --trusted-host origin.test -d d leaf && ls d | sed 's/leaf.*/hello/'); }
    pip_secure() { (cd "$work" && through "$work/venv/bin/pip" download -q --no-deps --cert "$CA" --index-url "$secure/simple" -d e leaf && ls e | sed 's/leaf.*/hello/'); }
    row pip "$("$work/venv/bin/pip" --version | awk '{print $2}')"
fi
if have botocore python3 && python3 -m venv "$work/venv" 2>/dev/null &&
    "$work/venv/bin/pip" install -q --disable-pip-version-check botocore==1.43.11 2>"$work/pip.err"; then
    # A route alone: what it signs is what is looked at.
    botocore_secure() { timeout 60 "$work/venv/bin/python" "$here/sign.py"; }
    row botocore "$("$work/venv/bin/python" "$here/sign.py" version)"
fi
if have node node && (mkdir -p "$work/node" && cd "$work/node" && npm install --silent --no-audit --no-fund undici@6 axios@1 \
    https-proxy-agent@7 >/dev/null 2>&1); then
    for client in undici axios; do
        for kind in plain secure refused; do
            eval "${client}_$kind() { (cd '$work/node' && cp '$here/node.mjs' . && through node node.mjs $client $kind); }"
        done
    done
    # It opens a tunnel for http:// as well, which a rule for TLS refuses.
    unset -f undici_plain
    row undici "$(cd "$work/node" && node -p 'require("undici/package.json").version')"
    row axios "$(cd "$work/node" && node -p 'require("axios/package.json").version')"
    npm_plain() { (cd "$work" && through npm view --registry "$plain/npm/" --proxy "$url" leaf version 2>&1 | sed 's/1.0.0/hello/'); }
    npm_secure() { (cd "$work" && through npm view --registry "$secure/npm/" --https-proxy "$url" --cafile "$CA" leaf version 2>&1 | sed 's/1.0.0/hello/'); }
    row npm "$(npm --version)"
fi
if have java javac; then
    (cd "$work" && cp "$here/Fetch.java" . && javac Fetch.java 2>/dev/null && keytool -importcert -noprompt -alias ca \
        -file "$CA" -keystore store.p12 -storepass changeit >/dev/null 2>&1)
    java_run() { (cd "$work" && timeout 60 java -Djdk.http.auth.tunneling.disabledSchemes= \
        -Djavax.net.ssl.trustStore=store.p12 -Djavax.net.ssl.trustStorePassword=changeit Fetch "$1" 2>&1); }
    java_plain() { java_run "$plain/hello"; }
    java_secure() { java_run "$secure/hello"; }
    java_refused() { java_run https://elsewhere.test/; }
    row java "$(java -version 2>&1 | awk -F'"' 'NR==1 {print $2}')"
fi
if have git git; then
    git init -q --bare "$work/leaf.git" && (cd "$work" && rm -rf seed && git init -q seed && cd seed &&
        git -c user.email=a@b -c user.name=a commit -q --allow-empty -m hello && git push -q "$work/leaf.git" HEAD:refs/heads/main)
    git --git-dir="$work/leaf.git" update-server-info
    git_plain() { through git ls-remote "$plain/leaf.git" 2>&1 | sed 's/.*refs.*/hello/'; }
    git_secure() { GIT_SSL_CAINFO="$CA" through git ls-remote "$secure/leaf.git" 2>&1 | sed 's/.*refs.*/hello/'; }
    git_refused() { through git ls-remote https://elsewhere.test/x.git 2>&1; }
    row git "$(git --version | awk '{print $3}')"
fi
if have cargo cargo; then
    cargo_run() { # registry
        rm -rf "$work/crate" && mkdir -p "$work/crate/src" && : >"$work/crate/src/lib.rs"
        printf '[package]\nname = "x"\nversion = "0.1.0"\n[dependencies]\nleaf = { version = "1", registry = "local" }\n' >"$work/crate/Cargo.toml"
        (cd "$work/crate" && CARGO_HOME=$work/cargo CARGO_NET_RETRY=0 CARGO_HTTP_PROXY=$url CARGO_HTTP_CAINFO=$CA \
            CARGO_REGISTRIES_LOCAL_INDEX="sparse+$1/cargo/" timeout 60 cargo generate-lockfile 2>&1 && sed -n 's/name = "leaf"/hello/p' Cargo.lock)
    }
    cargo_plain() { cargo_run "$plain"; }
    cargo_secure() { cargo_run "$secure"; }
    row cargo "$(cargo --version | awk '{print $2}')"
fi
if have chromium chromium; then
    # It asks for Proxy credentials in a window that a headless one has not, so the extension of a relay is left out.
    chromium_secure() { timeout 60 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$work/profile" \
        --ignore-certificate-errors --proxy-server="http://127.0.0.1:$(cat "$work/relay")" --dump-dom "$secure/hello" 2>/dev/null; }
    chromium_plain() { timeout 60 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$work/profile" \
        --proxy-server="http://127.0.0.1:$(cat "$work/relay")" --dump-dom "$plain/hello" 2>/dev/null; }
    row chromium "$(chromium --version 2>/dev/null | awk '{print $2}')"
fi
exit $failed
