#!/usr/bin/env bash
# Builds a Kubernetes control plane and node from Debian's source package, once. kubectl comes from
# Debian as a binary. What only clouds and Docker need is left out, which halves the work.
#
# Usage: build.sh FOLDER
# FOLDER/<source version>/bin then has kube-apiserver, kube-controller-manager, kube-scheduler, kubelet,
# kube-proxy, kubectl and pause. The last line of the output is that folder. If it is there already,
# nothing else happens. Everything is made in FOLDER, but for Debian packages of the compiler, etcd,
# containerd and the network plugins. APT's own configuration stays as it is.
set -euo pipefail

package=kubernetes
version='1.20.5+really1.20.2-1.1+deb12u1'
cache=$1
made=$cache/$version
here=$(cd "$(dirname "$0")" && pwd)

say() { echo "hitless test cluster: $*" >&2; }

programs=(go:golang-go rsync:rsync etcd:etcd-server containerd:containerd ctr:containerd runc:runc
    iptables:iptables conntrack:conntrack ip:iproute2 nsenter:util-linux openssl:openssl make:make)
missing=()
for program in "${programs[@]}"; do
    command -v "${program%%:*}" >/dev/null || missing+=("${program#*:}")
done
[[ -x /usr/lib/cni/ptp ]] || missing+=(containernetworking-plugins)
if ((${#missing[@]})); then
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if [[ -e $made/bin/complete ]]; then
    echo "$made/bin"
    exit
fi

# One build at a time; a second one waits, and then finds everything made.
mkdir -p "$made"
exec 9>"$made/lock"
flock 9
if [[ -e $made/bin/complete ]]; then
    echo "$made/bin"
    exit
fi

work=$made/work
rm -rf "$work" "$made/bin"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/source" "$made/bin"
cat >"$work/sources.list" <<LIST
deb-src http://deb.debian.org/debian bookworm main
deb-src http://deb.debian.org/debian-security bookworm-security main
LIST
cat >"$work/apt.conf" <<CONF
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$work/lists";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
CONF
say "downloading the source of $package $version (34 MB)"
APT_CONFIG=$work/apt.conf apt-get update -qq
(cd "$work/source" && APT_CONFIG=$work/apt.conf apt-get source -qq --download-only "$package=$version")

# The build wants its sources at their place in a GOPATH.
tree=$work/go/src/k8s.io/kubernetes
mkdir -p "$tree"
tar -xzf "$work"/source/*.orig.tar.gz --strip-components=1 -C "$tree"
tar -xJf "$work"/source/*.debian.tar.xz -C "$tree"
while read -r patch; do
    [[ -z $patch || $patch == \#* ]] || patch -d "$tree" -p1 -s <"$tree/debian/patches/$patch"
done <"$tree/debian/patches/series"

(
    cd "$work/source"
    apt-get -o APT::Sandbox::User=root download -qq "kubernetes-client=$version"
    dpkg -x kubernetes-client_*.deb kubectl
)
cp "$work/source/kubectl/usr/bin/kubectl" "$made/bin/"

say "building; on two free cores this takes some minutes, once"
started=$SECONDS
what="cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler cmd/kubelet cmd/kube-proxy"
(
    cd "$tree"
    export GOPATH=$work/go GOCACHE=$work/gocache GOPROXY=off CGO_ENABLED=0
    export KUBE_GIT_TREE_STATE=archive KUBE_GIT_VERSION=v1.20.2 KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=20
    export KUBE_GIT_COMMIT=0 GOLDFLAGS="-s -w" GOFLAGS="-tags=providerless,dockerless"
    make WHAT="$what" >"$made/build.log" 2>&1 || { tail -30 "$made/build.log" >&2; exit 1; }
    cp _output/local/bin/linux/*/kube-{apiserver,controller-manager,scheduler,proxy} \
        _output/local/bin/linux/*/kubelet "$made/bin/"
    GOFLAGS= GO111MODULE=off go build -o "$made/bin/pause" "$here/pause.go"
)
for program in "$made"/bin/*; do
    [[ -s $program ]] || { say "$program is empty: see $made/build.log"; exit 1; }
done
rm -rf "$work"
touch "$made/bin/complete"
say "built in $((SECONDS - started)) s"
echo "$made/bin"
