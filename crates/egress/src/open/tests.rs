use super::{Basis, Open, check};
use crate::address::Guard;
use crate::host::Host;
use casemate_core::sandbox::Outward;
use ipnet::IpNet;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn outward(internet: bool, allow: &[&str], deny: &[&str]) -> Outward {
    let owned = |list: &[&str]| list.iter().map(|own| (*own).to_owned()).collect();
    Outward {
        internet,
        allow: owned(allow),
        deny: owned(deny),
        ..Outward::default()
    }
}

fn open(internet: bool, allow: &[&str], deny: &[&str]) -> Open {
    Open::new(&outward(internet, allow, deny), Vec::new()).unwrap()
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn basis(open: &Open, name: &str, reached: &[&str]) -> Option<Basis> {
    let reached: Vec<_> = reached.iter().map(|own| ip(own)).collect();
    open.decide(&host(name), &reached).ok()
}

#[test]
fn the_internet_is_everything_but_what_is_denied() {
    let open = open(
        true,
        &["9.9.9.0/24", "good.example"],
        &["9.9.0.0/16", "8.8.8.8"],
    );
    for (name, reached, expected) in [
        ("a.example", &["1.1.1.1"][..], Some(Basis::Internet)),
        ("a.example", &[], Some(Basis::Internet)),
        ("1.1.1.1", &[], Some(Basis::Internet)),
        ("8.8.8.8", &[], None),
        ("a.example", &["1.1.1.1", "8.8.8.8"], None),
        ("a.example", &["::ffff:8.8.8.8"], None),
        // The same place by way of translators.
        ("64:ff9b::808:808", &[], None),
        ("a.example", &["2002:808:808::1"], None),
        // What is allowed wins.
        ("9.9.9.9", &[], Some(Basis::Address)),
        ("9.9.8.9", &[], None),
        ("good.example", &["9.9.8.9"], Some(Basis::Name)),
    ] {
        assert_eq!(basis(&open, name, reached), expected, "{name} {reached:?}");
    }
    assert!(open.resolves(&host("a.example")));
}

#[test]
fn without_it_only_what_is_allowed_is_reached() {
    let allowed = ["a.example", "*.b.example", "1.2.3.4", "2606:4700::/32"];
    for open in [
        open(false, &allowed, &[]),
        open(true, &allowed, &["0.0.0.0/0"]),
    ] {
        for (name, reached, expected) in [
            ("A.example.", &[][..], Some(Basis::Name)),
            ("a.example", &["5.6.7.8"], Some(Basis::Name)),
            ("x.a.example", &[], None),
            ("b.example", &[], None),
            ("x.b.example", &[], Some(Basis::Name)),
            ("y.x.b.example", &[], Some(Basis::Name)),
            ("xb.example", &[], None),
            ("1.2.3.4", &[], Some(Basis::Address)),
            ("1.2.3.5", &[], None),
            ("c.example", &["1.2.3.4"], Some(Basis::Address)),
            ("c.example", &["1.2.3.4", "1.2.3.5"], None),
            ("2606:4700::1", &[], Some(Basis::Address)),
            ("2606:4701::1", &[], None),
        ] {
            assert_eq!(basis(&open, name, reached), expected, "{name} {reached:?}");
        }
        for (name, resolved) in [
            ("a.example", true),
            ("z.b.example", true),
            ("b.example", false),
            ("c.example", false),
        ] {
            assert_eq!(open.resolves(&host(name)), resolved, "{name}");
        }
    }
}

#[test]
fn everything_can_be_allowed_by_the_list_too() {
    let all = open(false, &["0.0.0.0/0"], &["0.0.0.0/0"]);
    assert!(basis(&all, "a.example", &["1.1.1.1"]).is_some());
    assert!(basis(&all, "2606:4700::1", &[]).is_some());
    let named = open(false, &["*"], &[]);
    assert_eq!(basis(&named, "a.example", &["1.1.1.1"]), Some(Basis::Name));
    assert_eq!(basis(&named, "1.1.1.1", &[]), None);
}

#[test]
fn what_is_private_stays_out_of_reach_whatever_is_allowed() {
    let everything = ["0.0.0.0/0", "::/0", "*", "10.0.0.1", "169.254.169.254"];
    let guard = Guard::new([ip("198.41.0.4")]);
    let judge = |open: &Open, name: &str, address: &str| {
        let judged = open.judge(&guard, &host(name), 443, &[ip(address)]);
        judged.is_ok()
    };
    let all = open(true, &everything, &[]);
    for address in [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "127.0.0.1",
        "0.0.0.0",
        "100.64.0.1",
        "203.0.113.7",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        // The host's own.
        "198.41.0.4",
    ] {
        assert!(!judge(&all, address, address), "{address}");
        assert!(!judge(&all, "a.example", address), "{address}");
    }
    assert!(judge(&all, "a.example", "1.1.1.1"));
    // Whoever runs the platform may let sandboxes reach more, but never what is blocked.
    let reach: Vec<IpNet> = ["203.0.113.0/24", "127.0.0.0/8", "198.41.0.4/32"]
        .map(|own| own.parse().unwrap())
        .into();
    let wider = Open::new(&outward(true, &[], &[]), reach).unwrap();
    for (address, reached) in [
        ("203.0.113.7", true),
        ("198.41.0.4", true),
        ("1.1.1.1", true),
        ("127.0.0.1", false),
        ("192.0.2.1", false),
    ] {
        assert_eq!(judge(&wider, "a.example", address), reached, "{address}");
    }
}

#[test]
fn what_is_not_well_formed_is_named() {
    let said = |outward: &Outward| check(outward, &[]).unwrap_err().to_string();
    for (allow, deny, begins) in [
        (&["1.2.3.4/33"][..], &[][..], "network.allowOut[0]: "),
        (&["a.example", "a b"], &[], "network.allowOut[1]: "),
        (&["*.1.2.3.4"], &[], "network.allowOut[0]: "),
        (&["*.*.example"], &[], "network.allowOut[0]: "),
        (&["300.1.1.1"], &[], "network.allowOut[0]: "),
        (&[], &["a.example"], "network.denyOut[0]: "),
        (&[], &["1.2.3.4", "::/129"], "network.denyOut[1]: "),
    ] {
        let said = said(&outward(true, allow, deny));
        assert!(said.starts_with(begins), "{said}");
    }
    let mut many = outward(true, &[], &[]);
    many.deny = vec!["1.2.3.4".to_owned(); 1025];
    assert_eq!(said(&many), "network.denyOut: more than 1024 entries");
    for server in ["10.0.0.53", "127.0.0.53", "169.254.169.254"] {
        let mut asked = outward(true, &[], &[]);
        asked.dns = vec![ip("9.9.9.9"), ip(server)];
        let expected = format!("network.dnsServers[1]: no sandbox may reach {server}");
        assert_eq!(said(&asked), expected);
    }
    for (header, value, why) in [
        ("Host", "x", "belongs to the connection"),
        ("content_length", "1", "belongs to the connection"),
        ("Connection", "close", "belongs to the connection"),
        ("X-A", "a\r\nb", "can't be sent"),
        ("X A", "a", "can't be sent"),
        (":path", "/", "can't be sent"),
        ("", "", "can't be sent"),
    ] {
        let said = said(&with_headers(&[("a.example", header, value)]));
        assert!(said.starts_with("network.rules.a.example: "), "{said}");
        assert!(said.ends_with(why), "{said}");
    }
    let said = said(&with_headers(&[("a/b", "X", "y")]));
    assert_eq!(said, "network.rules: 'a/b' is no host");
}

fn with_headers(rules: &[(&str, &str, &str)]) -> Outward {
    let mut asked = outward(true, &[], &[]);
    for (host, name, value) in rules {
        let set = asked.headers.entry((*host).to_owned()).or_default();
        set.insert((*name).to_owned(), (*value).to_owned());
    }
    asked
}

#[test]
fn the_closest_rule_sets_a_header() {
    let asked = with_headers(&[
        ("*", "X-All", "1"),
        ("*.b.example", "X-Key", "wide"),
        ("a.b.example", "x-key", "close"),
        ("A.b.example", "X-Other", "2"),
    ]);
    let open = Open::new(&asked, Vec::new()).unwrap();
    let set = |name: &str| {
        let mut set = open.headers(&host(name)).clone();
        set.sort_unstable();
        set.iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(set("a.b.example"), "X-All=1 X-Other=2 x-key=close");
    assert_eq!(set("z.b.example"), "X-All=1 X-Key=wide");
    assert_eq!(set("b.example"), "X-All=1");
    assert_eq!(set("1.2.3.4"), "");
    assert!(open.sets_like(&Open::new(&asked, Vec::new()).unwrap()));
    assert!(!open.sets_like(&Open::new(&outward(true, &[], &[]), Vec::new()).unwrap()));
}

/// What the two lists mean, as slowly and plainly as can be.
fn plainly(asked: &Outward, host: &Host, reached: &[IpAddr]) -> Option<Basis> {
    let block = |text: &str| -> Option<IpNet> {
        let address = text.parse::<IpAddr>().ok().map(IpNet::from);
        text.parse::<IpNet>().ok().or(address)
    };
    let within = |list: &[String], address: &IpAddr| {
        let blocks = list.iter().filter_map(|own| block(own));
        blocks.into_iter().any(|own| own.contains(address))
    };
    let addresses: Vec<IpAddr> = reached.iter().copied().chain(host.address()).collect();
    let name = match host {
        Host::Name(name) => name.as_str(),
        _ => "",
    };
    let named = asked.allow.iter().any(|own| match own.strip_prefix("*.") {
        Some(domain) => name.ends_with(&format!(".{domain}")),
        None => own == name,
    });
    let allowed = !addresses.is_empty() && addresses.iter().all(|own| within(&asked.allow, own));
    let denied = addresses.iter().any(|own| within(&asked.deny, own));
    let all = "0.0.0.0/0".to_owned();
    let internet = asked.allow.contains(&all) || asked.internet && !asked.deny.contains(&all);
    match () {
        () if allowed => Some(Basis::Address),
        () if named => Some(Basis::Name),
        () if denied || !internet => None,
        () => Some(Basis::Internet),
    }
}

/// Addresses and blocks that are close together, so that they meet.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..4, 0u8..4).prop_map(|(c, d)| Ipv4Addr::new(1, 2, c, d).into()),
        (0u16..4).prop_map(|last| Ipv6Addr::new(0x2606, 0, 0, 0, 0, 0, 0, last).into()),
    ]
}

fn a_block() -> impl Strategy<Value = String> {
    let some = (address(), 0u8..12).prop_map(|(address, less)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        format!("{address}/{}", most - less)
    });
    prop_oneof![
        8 => some,
        2 => address().prop_map(|own| own.to_string()),
        1 => Just("0.0.0.0/0".to_owned()),
        1 => Just("::/0".to_owned()),
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[ab](\\.[ab]){0,3}"
}

fn asked() -> impl Strategy<Value = Outward> {
    let pattern = prop_oneof![name(), name().prop_map(|own| format!("*.{own}"))];
    let allow = prop::collection::vec(prop_oneof![a_block(), pattern], 0..6);
    let deny = prop::collection::vec(a_block(), 0..6);
    (any::<bool>(), allow, deny).prop_map(|(internet, allow, deny)| Outward {
        internet,
        allow,
        deny,
        ..Outward::default()
    })
}

proptest! {
    #[test]
    fn it_decides_as_it_is_meant(
        asked in asked(),
        to in prop_oneof![name(), address().prop_map(|own| own.to_string())],
        reached in prop::collection::vec(address(), 0..3),
    ) {
        let open = Open::new(&asked, Vec::new()).unwrap();
        let to = host(&to);
        let decided = open.decide(&to, &reached).ok();
        prop_assert_eq!(decided, plainly(&asked, &to, &reached));
        // Nothing is connected to by a name that may not be resolved.
        if open.decide(&to, &[]).is_ok() && to.address().is_none() {
            prop_assert!(open.resolves(&to));
        }
    }

    #[test]
    fn any_text_is_taken_or_refused(texts in prop::collection::vec("\\PC{0,40}", 0..4)) {
        let asked = Outward { allow: texts.clone(), deny: texts, ..Outward::default() };
        let _ = check(&asked, &[]);
    }

    #[test]
    fn no_list_leads_to_what_is_blocked(asked in asked(), bits: u32) {
        let address = IpAddr::from(Ipv4Addr::from_bits(bits));
        let open = Open::new(&asked, vec!["0.0.0.0/0".parse().unwrap()]).unwrap();
        let judged = open.judge(&Guard::default(), &host("a.example"), 443, &[address]);
        let blocked = matches!(crate::address::classify(address), crate::address::Class::Blocked(_));
        prop_assert_eq!(judged.is_err(), blocked);
    }
}
