//! What each type of component is made of, and what each kind of endpoint speaks: the tables that the rules of documents, the
//! definitions, the control plane and the operator read. A new type or kind is a variant and its row here.

use super::{ComponentType, EndpointKind};

/// What runs a component's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Pods that are kept running.
    Deployment,
    /// One Job for each TaskRun.
    Job,
}

/// What a type of component is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// What runs its program.
    pub workload: Workload,
    /// Whether it may have endpoints, each with a Service.
    pub endpoints: bool,
    /// Whether it gets a PodDisruptionBudget, because clients call it.
    pub disruption_budget: bool,
}

impl Shape {
    /// Whether it has pods that are scaled and probed.
    #[must_use]
    pub const fn is_kept_running(&self) -> bool {
        matches!(self.workload, Workload::Deployment)
    }

    /// Whether it runs once per TaskRun.
    #[must_use]
    pub const fn is_task(&self) -> bool {
        matches!(self.workload, Workload::Job)
    }
}

impl ComponentType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::Service, Self::Worker, Self::ManualTask];

    /// As in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Worker => "Worker",
            Self::ManualTask => "ManualTask",
        }
    }

    /// The type that is called so in documents.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|component| component.as_str() == name)
    }

    /// What it is made of.
    #[must_use]
    pub const fn shape(self) -> Shape {
        match self {
            Self::Service => Shape { workload: Workload::Deployment, endpoints: true, disruption_budget: true },
            Self::Worker => Shape { workload: Workload::Deployment, endpoints: false, disruption_budget: false },
            Self::ManualTask => Shape { workload: Workload::Job, endpoints: false, disruption_budget: false },
        }
    }

    /// Names of all types of that shape, for sentences: `Worker and ManualTask`.
    #[must_use]
    pub fn names(of: impl Fn(&Shape) -> bool) -> String {
        let names: Vec<_> = Self::ALL.into_iter().filter(|one| of(&one.shape())).map(Self::as_str).collect();
        match names.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

impl EndpointKind {
    /// Below it: `TCP` or `UDP`.
    #[must_use]
    pub const fn transport(self) -> &'static str {
        match self {
            Self::Http | Self::GraphQl | Self::Grpc | Self::WebSocket | Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// Whether a connection to its port says that somebody listens.
    #[must_use]
    pub const fn can_be_probed(self) -> bool {
        match self {
            Self::Http | Self::GraphQl | Self::Grpc | Self::WebSocket | Self::Tcp => true,
            Self::Udp => false,
        }
    }

    /// Scheme of its addresses; without one an address is host and port.
    #[must_use]
    pub const fn scheme(self) -> Option<&'static str> {
        match self {
            Self::Http | Self::GraphQl => Some("http"),
            Self::WebSocket => Some("ws"),
            Self::Grpc | Self::Tcp | Self::Udp => None,
        }
    }

    /// As Kubernetes names it (Service, "Application protocol").
    #[must_use]
    pub const fn app_protocol(self) -> Option<&'static str> {
        match self {
            Self::Http | Self::GraphQl => Some("http"),
            Self::Grpc => Some("kubernetes.io/h2c"),
            Self::WebSocket => Some("kubernetes.io/ws"),
            Self::Tcp | Self::Udp => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_name() {
        for component in ComponentType::ALL {
            assert_eq!(ComponentType::named(component.as_str()), Some(component));
            assert_eq!(serde_json::to_value(component).unwrap(), component.as_str());
        }
        assert_eq!(ComponentType::named("service"), None);
    }

    #[test]
    fn types_are_named_in_a_sentence() {
        assert_eq!(ComponentType::names(Shape::is_task), "ManualTask");
        assert_eq!(ComponentType::names(|shape| !shape.endpoints), "Worker and ManualTask");
        assert_eq!(ComponentType::names(|_| true), "Service, Worker and ManualTask");
    }
}
