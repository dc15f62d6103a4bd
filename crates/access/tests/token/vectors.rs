//! Tokens that other implementations made: the examples of RFC 7515 (appendix A) and RFC 8037
//! (appendix A.4), and one of each algorithm, signed by Node.js with OpenSSL.

use access::token::{
    Algorithm, KeyMaterial, Keys, Payload, Rules, StaticKey, TokenError, Verifier,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};

use crate::signer::{NOW, key, verifier_of_jwks};

/// The claims of RFC 7515 appendix A.1 to A.3, in base64url.
const RFC_CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
/// The `exp` in them.
const RFC_EXP: i64 = 1_300_819_380;

fn check_rfc(verifier: &Verifier, header: &str, signature: &str) {
    let token = format!("{header}.{RFC_CLAIMS}.{signature}");
    let claims = verifier.verify_connection(&token, RFC_EXP - 1).unwrap();
    assert_eq!(
        (claims.user.as_str(), claims.expires_at),
        ("", Some(RFC_EXP))
    );
    assert_eq!(
        verifier.verify_connection(&token, RFC_EXP),
        Err(TokenError::Expired)
    );
}

#[test]
fn rfc_7515_a_1_hs256() {
    let secret =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let secret = KeyMaterial::Secret(BASE64URL.decode(secret).unwrap());
    let keys = Keys::from_static(&[key("A.1", secret)]).unwrap();
    let verifier = Verifier::new(keys, Rules::default()).unwrap();
    let header = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
    check_rfc(
        &verifier,
        header,
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    );
}

#[test]
fn rfc_7515_a_2_rs256() {
    let key = r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#;
    check_rfc(
        &verifier_of_jwks(&[key.to_owned()]),
        "eyJhbGciOiJSUzI1NiJ9",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
}

#[test]
fn rfc_7515_a_3_es256() {
    let key = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    check_rfc(
        &verifier_of_jwks(&[key.to_owned()]),
        "eyJhbGciOiJFUzI1NiJ9",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
}

/// These two sign a text that is no JWT: it is refused for that, and only behind the signature.
fn check_not_claims(key: &str, token: &str) {
    let verifier = verifier_of_jwks(&[key.to_owned()]);
    let not_claims =
        TokenError::Malformed("its payload is not an object in JSON, or has a name twice");
    assert_eq!(verifier.verify_connection(token, NOW), Err(not_claims));
    let forged = token.replacen(".U", ".V", 1).replacen(".R", ".S", 1);
    assert_ne!(forged, token);
    assert_eq!(
        verifier.verify_connection(&forged, NOW),
        Err(TokenError::BadSignature)
    );
}

#[test]
fn rfc_7515_a_4_es512() {
    check_not_claims(
        r#"{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}"#,
        "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
    );
}

#[test]
fn rfc_8037_a_4_ed25519() {
    check_not_claims(
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
}

/// A token, and the key of it.
struct Vector {
    algorithm: &'static str,
    key: &'static str,
    token: &'static str,
}

#[test]
fn tokens_of_openssl_are_verified_each_by_its_algorithm() {
    let names: Vec<_> = VECTORS.iter().map(|vector| vector.algorithm).collect();
    assert_eq!(names, Algorithm::ALL.map(Algorithm::name));
    for vector in VECTORS {
        let material = match vector.key {
            SECRET => KeyMaterial::Secret(SECRET.into()),
            pem => KeyMaterial::Pem(pem.to_owned()),
        };
        let key = StaticKey {
            kid: Some("not in the token".to_owned()),
            ..key(vector.algorithm, material)
        };
        let verifier = Verifier::new(Keys::from_static(&[key]).unwrap(), Rules::default()).unwrap();
        let claims = verifier.verify_connection(vector.token, NOW).unwrap();
        assert_eq!(claims.user, "42");
        assert_eq!(
            claims.info,
            Some(Payload::Json(r#"{"name": "Ann"}"#.into()))
        );
    }
}

const SECRET: &str = "an independent implementation knows this secret, too";
const RSA: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAqBjTtsh1CTUCFSS3NaUQ\n\
gblT4sODDBuui5e+JF5X0nhVKJams/0nhE8ytEeTaFtwqakjF3KZUbrdmrPof/uL\n\
HnDQTdvUWnjEjBE9sJYrxmkk1plgAzTWKnudHI6pHpzNS5Ht2tyKN3IGFzKbhHSR\n\
QrscbbmjygyKZaJLeufkqOxxvUYEb2HYVkxITgGhpbVNZnQv2jqUPHmzq7crJss2\n\
aHVh2+HYKjZSoooNr4N6hNtEIxrcIk2BpBewWkpiKs/jh61hHD3QlsGPl+2+r8hO\n\
uRQJlRqXgl1D/6D1KBqJvEP8exN8RB/5T5bCOQj9Hzx0/JXQQVeuuh67euuTCKoP\n\
owIDAQAB\n\
-----END PUBLIC KEY-----\n";
const P256: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQi1/DetAd44Ly+5XHSEx7U/Ah2bb\n\
TSBM7Ja1cF6uuu9vFjaNrXeAJ/XK1hic2B5Mzfk7YxO/MD+obBqzphuosw==\n\
-----END PUBLIC KEY-----\n";
const P384: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEQ9y1eJr8EsIKPTOv9gRHaFAt8ytiweyY\n\
gBgg5VQn7XyB7QeDs/f5kJ4afqy+k6hek4lSbXelEOc+vqaP+i0MEZohlYC/54/2\n\
LBn6Z2yfwKwpuElAZ2u3+jtzErRrrLaK\n\
-----END PUBLIC KEY-----\n";
const P512: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQB9MWVv9AZKgBHca3UhW7ED8DmGa+3\n\
4LTTTJNUchsFYIGXKSEh4dN29QlYoWY45tLhZzpg6WsJxs5cMaIoGesh13sAuElZ\n\
IRwoirsRbUWpeI1D6mtL9UmUityVNpQOkbwg0PcHJkLel7Qz+IrakHZM4PxxdRTz\n\
T2jmBRwKyKDuZJC2W8M=\n\
-----END PUBLIC KEY-----\n";
const ED: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MCowBQYDK2VwAyEAsDaayBhT4aMkMi4PS8e/mDDmyJx5fi8gHyDL286Gpqc=\n\
-----END PUBLIC KEY-----\n";

const VECTORS: [Vector; 10] = [
    Vector {
        algorithm: "HS256",
        key: SECRET,
        token: "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImV4cCI6NDEwMjQ0NDgwMCwiaW5mbyI6eyJuYW1lIjogIkFubiJ9fQ.WY7elJwVwUGstToIBssmqjtKym0zPljoIPsFeAf3PHc",
    },
    Vector {
        algorithm: "HS384",
        key: SECRET,
        token: "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImV4cCI6NDEwMjQ0NDgwMCwiaW5mbyI6eyJuYW1lIjogIkFubiJ9fQ.F-aRQREyVPArGlV6LC_ILqW51hIu8tsSt-Mo1bH40U1WxOtjWr1OWuAs0pgJm4nq",
    },
    Vector {
        algorithm: "HS512",
        key: SECRET,
        token: "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImV4cCI6NDEwMjQ0NDgwMCwiaW5mbyI6eyJuYW1lIjogIkFubiJ9fQ.OJjItaRQVU_Q_mxBgxcpV8Mg--XoOJ26-eG0ySNQx6yIlzke9ypT0Hjs2niiYcuxhpzAT5TB7N02vvM45qErGw",
    },
    Vector {
        algorithm: "RS256",
        key: RSA,
        token: "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImV4cCI6NDEwMjQ0NDgwMCwiaW5mbyI6eyJuYW1lIjogIkFubiJ9fQ.nBXgZLQApuktYntlbyYuuu8Xr9ke_2movAOZAwyK2DHNyAby54tQFTvr5zntJz7s9nyQ66rvg7XGjgQVXZNMJvOHJZA71qpsGTcQFAcynsaDntuxgM-J6uWOo3RlTkuHpUHD680LTR1Sc7LWe2g2cIAInRyJyOcKX0_royIubvYZGjNYggrRgA3zek2oH3x3KkHtCg33QdVRIIT_oOs0tZ_wwzdhYUWAPXpgfNPhKmjL1Q-3F4VghZxin6tO1fJk2Tcy7enWK9Mz8S8htgDExAsZ2qkmayNYLVMQpkRWtmcwrLvwTqMVrlgQ-N-VK_qh0c4ghaHdZtNVEZoWBQ6NWw",
    },
    Vector {
        algorithm: "RS384",
        key: RSA,
        token: "eyJhbGciOiJSUzM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImV4cCI6NDEwMjQ0NDgwMCwiaW5mbyI6eyJuYW1lIjogIkFubiJ9fQ.kwg2pxpg-U2NAvtI-ICY2BjnlBCdoS19OrfaZ0eR6-Gutm-Y8_I6UYr-x2oqHl8Yly3cH7dZKekPPia-Lf74z33dTWej4N1fQK_LPqSusrsZkXAnd1w4Ll2gAQEjo0DRcGhgmqqXbxdd8zwBVRidFKEit-0Ql9xEhae60-s3j35ZsC10kOWweEvVfrl1S9a7-wsxcaoIE-UF5IBnO951AaR3eyFGlTczaq2DT11UH-pHNqv24iwJDntnMem_hZOOBp1PoNLFMXZ4RyrTIrIAgYRPGYjQ48Y7n47jsKe1qLoRlIONoTdmqKCMtlMvsxu4e0gZpsEpvmc--EtVpi2tBg",
    },
    Vector {
        algorithm: "RS512",
        key: RSA,
        token: "eyJhbGciOiJSUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImV4cCI6NDEwMjQ0NDgwMCwiaW5mbyI6eyJuYW1lIjogIkFubiJ9fQ.IBpN7VPEPUWkoSZZYK90jUxXLlZCD2AZmArRc2Cm90m0J81L2RmBkBrCtD1MhN76HkJ1uZvueUGQInSe1JJA0PDXErebk5JkmLnO38W4z1sUJdFvhqctSaF1LuUQgNTJqM4ZsHSKXeJDGg0ioNkATcOnWNR3UJX6R9djErCUbzlk2TdfqohQQMZ4B3UPmN-Ow7Y0uQ4BWHJjQRr1q-6w4dK0fGVR6ZjVRN08Q3W8L-s0yzY47RUtKWeX-drwzQa5amRLlClFntmGhlFYO36u15APYR2mHZCR1qeelBAlad1G2uGatr6OvxcAikASnfwwDLJcOnS9QYuthdOX4JLe-Q",
    },
    Vector {
        algorithm: "ES256",
        key: P256,
        token: "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImV4cCI6NDEwMjQ0NDgwMCwiaW5mbyI6eyJuYW1lIjogIkFubiJ9fQ.NjOfCiOJbT_D2DMbak1urf4NLJ1ru2V8gZRamieVNydsla3BKMpWydIkz6NsZ7CAF9uqdZb-yRP2MJDErSvfEA",
    },
    Vector {
        algorithm: "ES384",
        key: P384,
        token: "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImV4cCI6NDEwMjQ0NDgwMCwiaW5mbyI6eyJuYW1lIjogIkFubiJ9fQ.-VxbuWSyxMLhjRafB_kE9noH3k1tK7Qxpn3nL4AiZiyJwQKOAahL2Cd2JAMNqqmexyICCuPAZMmayZ8zC1z7Z1FjwrBXZXWAeSx6wv4RMjTdgS1C9MeDxGzzPWFBiJk6",
    },
    Vector {
        algorithm: "ES512",
        key: P512,
        token: "eyJhbGciOiJFUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImV4cCI6NDEwMjQ0NDgwMCwiaW5mbyI6eyJuYW1lIjogIkFubiJ9fQ.ADwtutyLQDGDfmWjSAY6-lIOQlKkjQgEkBZwNUE0fgO_IA9AY16hTDUGDD9ASBDoJ5fF1W-pDG3BHeQQkLCXCEfjAclZ21pL0uoMgoDVQNhnJ5xsALTGI_IY_Mir12GAdO4e389d6teneD1OKOy3FhBofRWiatZDV5TwMEYpBGRRNS43",
    },
    Vector {
        algorithm: "EdDSA",
        key: ED,
        token: "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImV4cCI6NDEwMjQ0NDgwMCwiaW5mbyI6eyJuYW1lIjogIkFubiJ9fQ.peaF4gtcTeQCYrhIG6bes8Ib0T0CSeb4ePaRgmjKQiVOyevfbZ_3_6CAfLlzJEo3SM9vMFjGKWz2Uh_wZar7Bg",
    },
];
