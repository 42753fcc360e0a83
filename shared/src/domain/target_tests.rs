use super::*;
use proptest::prelude::*;

#[track_caller]
fn refused(text: &str) -> Forbidden {
    CallbackUrl::parse(text, Reach::Public).expect_err(text)
}

#[test]
fn public_https_is_allowed() {
    for good in [
        "https://example.com/hook?token=x",
        "https://example.com:8443/",
        "https://93.184.216.34/",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/",
        "https://xn--bcher-kva.example/ü",
    ] {
        assert!(CallbackUrl::parse(good, Reach::Public).is_ok(), "{good}");
    }
}

#[test]
fn every_writing_of_an_inner_address_is_refused() {
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "0177.0.0.1",
        "0",
        "10.1.2.3",
        "172.31.255.255",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[2001:db8::1]",
    ] {
        assert_eq!(refused(&format!("https://{host}/")), Forbidden::NotPublic, "{host}");
    }
}

#[test]
fn what_is_no_plain_https_is_refused() {
    assert_eq!(refused("http://example.com/"), Forbidden::NotHttps);
    assert_eq!(refused("ftp://example.com/"), Forbidden::NotHttps);
    assert_eq!(refused("file:///etc/passwd"), Forbidden::Garbled);
    assert_eq!(refused("mailto:a@example.com"), Forbidden::Garbled);
    assert_eq!(refused("example.com"), Forbidden::Garbled);
    assert_eq!(refused("https://user:secret@example.com/"), Forbidden::Credentials);
    assert_eq!(refused("https://example.com/#part"), Forbidden::Fragment);
    assert_eq!(refused(&format!("https://example.com/{}", "x".repeat(MAX_URL))), Forbidden::TooLong);
}

#[test]
fn local_reach_is_loopback_and_nothing_more() {
    for good in ["http://127.0.0.1:8080/", "http://localhost:1/", "http://[::1]/", "https://example.com/"] {
        assert!(CallbackUrl::parse(good, Reach::Local).is_ok(), "{good}");
    }
    for bad in ["http://example.com/", "https://10.0.0.1/", "http://169.254.169.254/", "http://192.168.0.1/"] {
        assert!(CallbackUrl::parse(bad, Reach::Local).is_err(), "{bad}");
    }
    assert!(!Reach::Local.allows(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))));
    assert!(Reach::Local.allows(IpAddr::V6(Ipv6Addr::LOCALHOST)));
}

#[test]
fn debug_hides_all_but_the_host() {
    let url = CallbackUrl::parse("https://example.com/secret?token=secret", Reach::Public).unwrap();
    assert!(!format!("{url:?}").contains("secret"));
}

proptest! {
    /// What the standard library knows to be inside is inside.
    #[test]
    fn no_address_that_is_known_to_be_inside_is_public(bits: u32) {
        let address = Ipv4Addr::from_bits(bits);
        let inside = address.is_private() || address.is_loopback() || address.is_link_local() || address.is_broadcast()
            || address.is_documentation() || address.is_multicast() || address.is_unspecified();
        prop_assert!(!inside || !is_public(IpAddr::V4(address)), "{}", address);
        prop_assert!(!is_public(IpAddr::V6(address.to_ipv6_mapped())));
        prop_assert!(!is_public(IpAddr::V6(address.to_ipv6_compatible())));
    }

    #[test]
    fn any_text_is_answered(text in ".*", prefix in "(https?://)?") {
        for reach in [Reach::Public, Reach::Local] {
            if let Ok(url) = CallbackUrl::parse(&format!("{prefix}{text}"), reach) {
                prop_assert!(url.check(reach).is_ok());
                prop_assert_eq!(CallbackUrl::try_from(String::from(url.clone())).unwrap(), url);
            }
        }
    }
}
