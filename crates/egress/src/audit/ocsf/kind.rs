//! Classes and their activities.

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Network Activity, 4001.
    Network(NetworkActivity),
    /// HTTP Activity, 4002.
    Http(HttpActivity),
    /// Detection Finding, 2004.
    Finding {
        /// What happens to it.
        activity: FindingActivity,
        /// The same for all findings of one kind: `casemate.credentials.not-bound`.
        id: String,
        /// What was found.
        title: String,
    },
    /// Device Config State Change, 5019: the policy changed.
    ConfigState {
        /// The revision before, and the one that holds now.
        revisions: (Option<String>, String),
    },
    /// Application Lifecycle, 6002.
    Lifecycle(LifecycleActivity),
}

/// Of [`Kind::Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkActivity {
    /// A connection is opened, or would be.
    Open,
    /// It's closed in order.
    Close,
    /// It's cut off.
    Reset,
    /// It can't be opened.
    Fail,
    /// The other side refuses it.
    Refuse,
    /// Bytes that went over it.
    Traffic,
}

/// Of [`Kind::Http`]: the request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpActivity {
    /// CONNECT.
    Connect,
    /// DELETE.
    Delete,
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// OPTIONS.
    Options,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// TRACE.
    Trace,
    /// PATCH.
    Patch,
    /// Any other, such as a message of WebSocket.
    Other,
}

/// Of [`Kind::Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingActivity {
    /// It's new.
    Create,
    /// There is more of it.
    Update,
    /// It's over.
    Close,
}

/// Of [`Kind::Lifecycle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleActivity {
    /// The sandbox starts.
    Start,
    /// It stops.
    Stop,
}

impl From<&str> for HttpActivity {
    fn from(method: &str) -> Self {
        match method {
            "CONNECT" => Self::Connect,
            "DELETE" => Self::Delete,
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// The names and numbers of a class and an activity.
pub(super) struct Class {
    pub(super) uid: u32,
    pub(super) name: &'static str,
    pub(super) category: &'static str,
    pub(super) activity: u32,
    pub(super) activity_name: &'static str,
}

impl Kind {
    pub(super) fn class(&self) -> Class {
        let (uid, name, category) = match self {
            Self::Network(_) => (4001, "Network Activity", "Network Activity"),
            Self::Http(_) => (4002, "HTTP Activity", "Network Activity"),
            Self::Finding { .. } => (2004, "Detection Finding", "Findings"),
            Self::ConfigState { .. } => (5019, "Device Config State Change", "Discovery"),
            Self::Lifecycle(_) => (6002, "Application Lifecycle", "Application Activity"),
        };
        let (activity, activity_name) = self.activity();
        Class {
            uid,
            name,
            category,
            activity,
            activity_name,
        }
    }

    fn activity(&self) -> (u32, &'static str) {
        match self {
            Self::Network(activity) => match activity {
                NetworkActivity::Open => (1, "Open"),
                NetworkActivity::Close => (2, "Close"),
                NetworkActivity::Reset => (3, "Reset"),
                NetworkActivity::Fail => (4, "Fail"),
                NetworkActivity::Refuse => (5, "Refuse"),
                NetworkActivity::Traffic => (6, "Traffic"),
            },
            Self::Http(activity) => match activity {
                HttpActivity::Connect => (1, "Connect"),
                HttpActivity::Delete => (2, "Delete"),
                HttpActivity::Get => (3, "Get"),
                HttpActivity::Head => (4, "Head"),
                HttpActivity::Options => (5, "Options"),
                HttpActivity::Post => (6, "Post"),
                HttpActivity::Put => (7, "Put"),
                HttpActivity::Trace => (8, "Trace"),
                HttpActivity::Patch => (9, "Patch"),
                HttpActivity::Other => (99, "Other"),
            },
            Self::Finding { activity, .. } => match activity {
                FindingActivity::Create => (1, "Create"),
                FindingActivity::Update => (2, "Update"),
                FindingActivity::Close => (3, "Close"),
            },
            Self::ConfigState { .. } => (1, "Log"),
            Self::Lifecycle(LifecycleActivity::Start) => (3, "Start"),
            Self::Lifecycle(LifecycleActivity::Stop) => (4, "Stop"),
        }
    }

    /// `net:open`, as the short form has it.
    pub(in crate::audit) fn shorthand(&self) -> String {
        let class = match self {
            Self::Network(_) => "net",
            Self::Http(_) => "http",
            Self::Finding { .. } => "finding",
            Self::ConfigState { .. } => "config",
            Self::Lifecycle(_) => "app",
        };
        format!("{class}:{}", self.activity().1.to_ascii_lowercase())
    }
}
