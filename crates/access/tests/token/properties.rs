//! Properties: any bytes are answered, and claims that are made are the claims that are read.

use access::token::{Payload, TokenError};
use proptest::prelude::*;

use crate::{
    driver::fuzz_token,
    signer::{NOW, SECRET, Signer},
};

proptest! {
    #[test]
    fn any_bytes_are_answered(kind in 0_u8..5, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut input = vec![kind];
        input.extend(bytes);
        fuzz_token(&input);
    }

    #[test]
    fn any_text_of_the_alphabet_is_answered(text in "[0-4][-_.A-Za-z0-9{}\\[\\]\":,\\\\ ]{0,200}") {
        fuzz_token(text.as_bytes());
    }

    #[test]
    fn claims_are_read_as_they_were_made(
        user in ".{0,40}",
        channel in ".{1,40}",
        exp in NOW + 1..NOW + 1_000_000,
        publish: bool,
        blanks in "[ \t\r\n]{0,3}",
    ) {
        let name = serde_json::to_string(&user).unwrap();
        let of = serde_json::to_string(&channel).unwrap();
        let info = format!("{{{blanks}\"name\"{blanks}:{name}}}");
        let claims = format!(
            r#"{{"sub":{name},{blanks}"channel":{of},"exp":{exp},"publish":{publish},"info":{info}}}"#
        );
        let signer = Signer::secret(SECRET);
        let (verifier, token) = (signer.verifier(), signer.token(&claims));
        let read = verifier.verify_subscription(&token, NOW).unwrap();
        prop_assert_eq!((read.user, read.channel), (user, channel));
        prop_assert_eq!((read.expires_at, read.publish), (Some(exp), publish));
        prop_assert_eq!(read.info, Some(Payload::Json(info.into())));
        prop_assert_eq!(verifier.verify_subscription(&token, exp), Err(TokenError::Expired));
        prop_assert!(verifier.verify_connection(&token, NOW).is_err());
    }
}
