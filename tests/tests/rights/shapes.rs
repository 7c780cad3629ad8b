//! What pods must not be, one shape after the other.

use serde_json::{Value, json};

use super::gates;

pub(crate) type Shape = (&'static str, Value, Value, &'static str);

/// What pods must not be: fields of their spec, fields of their container.
pub(crate) fn shapes() -> Vec<Shape> {
    let spec = "spec has only the fields";
    let container = "spec.containers[] has only the fields";
    let security = "spec.containers[].securityContext has only the fields";
    let volumes = "spec.volumes[] has only the fields";
    let volume = |source: Value| {
        let mut volume = json!({"name": "h"});
        volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        json!({"volumes": [volume]})
    };
    let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "volumeName": "node", "storageClassName": "",
        "resources": {"requests": {"storage": "1Mi"}}}});
    let token = json!({"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 86400}}]});
    let by_name = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
        [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node1"]}]}]}}});
    let host = |kind: &str| json!({"httpGet": {"host": "169.254.169.254", "port": 80, "path": kind}});
    let digest = "@sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let of_pod: Vec<Shape> = [
        ("the node's network", json!({"hostNetwork": true}), spec),
        ("the node's processes", json!({"hostPID": true}), spec),
        ("the node's IPC", json!({"hostIPC": true}), spec),
        ("one view of all its processes", json!({"shareProcessNamespace": true}), spec),
        ("a node of its choice", json!({"nodeName": "node1"}), spec),
        ("a node by its label", json!({"nodeSelector": {"kubernetes.io/hostname": "node1"}}), spec),
        ("a node by affinity", json!({"affinity": by_name}), spec),
        ("every taint tolerated", json!({"tolerations": [{"operator": "Exists"}]}), spec),
        ("the system's priority", json!({"priorityClassName": "system-node-critical"}), spec),
        ("the customer's highest priority", json!({"priorityClassName": "payments"}), spec),
        ("a runtime of its choice", json!({"runtimeClassName": "unsafe"}), spec),
        ("a scheduler of its choice", json!({"schedulerName": "mine"}), spec),
        ("names of its choice", json!({"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["vault"]}]}), spec),
        ("resolvers of its choice", json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.1"]}}), spec),
        ("the node's resolvers", json!({"dnsPolicy": "Default"}), spec),
        ("a token", json!({"automountServiceAccountToken": true}), spec),
        ("the vault's account", json!({"serviceAccountName": "pdp-vault"}), spec),
        ("Services in its environment", json!({"enableServiceLinks": true}), spec),
        ("no end", json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}]}), spec),
        ("root", json!({"securityContext": {"runAsUser": 0}}), "spec.securityContext has only the fields"),
        (
            "root by default",
            json!({"securityContext": {"runAsNonRoot": false}}),
            "spec.securityContext has only the fields",
        ),
        (
            "a kernel setting",
            json!({"securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]}}),
            "spec.securityContext has only the fields",
        ),
        ("groups", json!({"securityContext": {"supplementalGroups": [0]}}), "spec.securityContext has only the fields"),
        (
            "no system call filter",
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            "seccompProfile has only",
        ),
        ("a path of the node", volume(json!({"hostPath": {"path": "/"}})), volumes),
        ("an NFS volume", volume(json!({"nfs": {"server": "x", "path": "/"}})), volumes),
        ("a disk of a driver", volume(json!({"csi": {"driver": "x"}})), volumes),
        ("an image as a volume", volume(json!({"image": {"reference": "x"}})), volumes),
        (
            "somebody's volume by a claim of its own",
            volume(json!({"ephemeral": {"volumeClaimTemplate": claim}})),
            volumes,
        ),
        ("somebody's claim", volume(json!({"persistentVolumeClaim": {"claimName": "x"}})), volumes),
        ("a token as a volume", volume(json!({"projected": token})), volumes),
        ("its own head as a volume", volume(json!({"downwardAPI": {"items": []}})), volumes),
    ]
    .into_iter()
    .chain(gates::shapes())
    .map(|(title, spec, refusal)| (title, spec, json!({}), refusal))
    .collect();
    let of_container = [
        (
            "all privileges",
            json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": true}}),
            security,
        ),
        (
            "more privileges than it starts with",
            json!({"securityContext": {"allowPrivilegeEscalation": true}}),
            security,
        ),
        (
            "a capability",
            json!({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}),
            "capabilities has only the fields",
        ),
        (
            "a bound port",
            json!({"securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}}}),
            "capabilities has only the fields",
        ),
        ("no filter of system calls", json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}), security),
        ("root in its container", json!({"securityContext": {"runAsUser": 0}}), security),
        (
            "a port of the node",
            json!({"ports": [{"containerPort": 80, "hostPort": 80}]}),
            "ports[] has only the fields",
        ),
        ("an image of any registry", json!({"image": format!("evil.test/none{digest}")}), container),
        (
            "an image whose registry begins like an allowed one",
            json!({"image": format!("registry.customer.test:5000.evil.test/none{digest}")}),
            container,
        ),
        ("an image by tag", json!({"image": "registry.customer.test:5000/none:latest"}), container),
        (
            "an image by tag that looks like a digest",
            json!({"image": "registry.customer.test:5000/none@sha256:00"}),
            container,
        ),
        ("no image of its own choosing but the node's", json!({"imagePullPolicy": "Never"}), container),
        ("a probe of another host", json!({"livenessProbe": host("/")}), "livenessProbe.httpGet has only the fields"),
        (
            "a call of another host at its end",
            json!({"lifecycle": {"preStop": host("/")}}),
            "preStop has only the fields",
        ),
        (
            "a command at its start",
            json!({"lifecycle": {"postStart": {"exec": {"command": ["id"]}}}}),
            "lifecycle has only the fields",
        ),
        ("a whole Secret in its environment", json!({"envFrom": [{"secretRef": {"name": "config"}}]}), container),
        (
            "its node's address",
            json!({"env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}]}),
            "valueFrom has only the fields",
        ),
        (
            "a plain value that the kubelet expands",
            json!({"env": [{"name": "N", "value": "$(M)"}]}),
            "env[] has only the fields",
        ),
        ("a terminal", json!({"stdin": true, "tty": true}), container),
        (
            "a device of a driver",
            json!({"resources": {"limits": {"vendor.test/gpu": "1"}, "requests": {"vendor.test/gpu": "1"}}}),
            "resources.limits has only",
        ),
    ];
    let mut all = of_pod;
    all.extend(of_container.into_iter().map(|(title, container, refusal)| (title, json!({}), container, refusal)));
    all
}
