use super::*;
use crate::scope::SecretName;
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

const PASSWORD: &str = "correct horse";

fn key(password: &str) -> FileKey {
    FileKey::from_password(password, String::new(), false)
}

fn secrets() -> SecretMap {
    let mut secrets = SecretMap::default();
    secrets.set(&SecretName::user("a").unwrap(), "b".into());
    secrets
}

/// Costs that a test can pay.
fn cheap() -> Form {
    Form::Two(Derivation {
        memory_kib: 32,
        passes: 1,
        lanes: 1,
        salt: *b"0123456789abcdef",
    })
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn a_key_is_what_another_program_derives() {
    // Made with the reference implementation (argon2-cffi): hash_secret_raw(sha256(b"correct horse").digest(),
    // b"0123456789abcdef", 3, 65536, 4, 32, Type.ID).
    let Form::Two(mut derivation) = Form::two().unwrap() else {
        panic!("another form");
    };
    derivation.salt = *b"0123456789abcdef";
    assert_eq!(
        derivation.derive(&key(PASSWORD)).unwrap().as_slice(),
        unhex(REFERENCE_KEY)
    );
}

const REFERENCE_KEY: &str = "fcd7c621e6d4de9b4bc4334244efe3f7ca5fd9c874902ecc99fa07a45aa5d7ba";

#[test]
fn a_file_of_either_form_opens_with_its_password_and_says_its_form() {
    let forms = Forms::default();
    for form in [Form::One, cheap(), Form::two().unwrap()] {
        let bytes = forms.close(&key(PASSWORD), form, &secrets()).unwrap();
        let (read, found) = forms.open(&key(PASSWORD), &bytes).unwrap();
        assert_eq!(found, form);
        assert!(read.holds_the_same_as(&secrets()));
        assert_eq!(
            forms.open(&key("another"), &bytes).unwrap_err(),
            FormError::Refused
        );
    }
}

#[test]
fn the_salt_is_another_one_for_each_file() {
    assert_ne!(Form::two().unwrap(), Form::two().unwrap());
}

#[test]
fn case_89_a_form_of_a_newer_version_is_refused_politely() {
    let mut bytes = Forms::default()
        .close(&key(PASSWORD), cheap(), &secrets())
        .unwrap();
    bytes[MAGIC.len()] = 3;
    let error = open(PASSWORD, &bytes).unwrap_err().to_string();
    assert_eq!(error, "it is in form 3, which a newer version of thv wrote");
}

#[test]
fn a_header_that_asks_for_too_much_is_not_worked_off() {
    let with = |memory_kib, passes, lanes| {
        let form = Form::Two(Derivation {
            memory_kib,
            passes,
            lanes,
            salt: [0; SALT_BYTES],
        });
        Form::of(&form.header())
    };
    assert!(with(MEMORY_MAX_KIB, PASSES_MAX, LANES_MAX).is_ok());
    for refused in [
        with(MEMORY_MAX_KIB + 1, 1, 1),
        with(u32::MAX, 1, 1),
        with(32, PASSES_MAX + 1, 1),
        with(1024, 1, LANES_MAX + 1),
        with(0, 1, 1),
        with(32, 0, 1),
        with(32, 1, 0),
    ] {
        assert!(matches!(refused, Err(FormError::Unusable(_))));
    }
}

#[test]
fn a_key_is_derived_once_for_a_file_and_a_password() {
    let forms = Forms::default();
    let bytes = forms.close(&key(PASSWORD), cheap(), &secrets()).unwrap();
    let known = |forms: &Forms| {
        let derived = forms.derived.lock().unwrap();
        derived.as_ref().map(|derived| *derived.from)
    };
    assert_eq!(known(&forms), Some(*key(PASSWORD).bytes()));
    assert!(forms.open(&key("another"), &bytes).is_err());
    assert_eq!(known(&forms), Some(*key("another").bytes()));
    // What is remembered for one password does not open the file for another.
    let (read, _) = forms.open(&key(PASSWORD), &bytes).unwrap();
    let value = read.get(&SecretName::user("a").unwrap()).unwrap();
    assert_eq!(value.expose_secret(), "b");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_behind_a_header_are_read_or_refused_without_a_panic(
        number in 0_u8..4,
        costs in prop::array::uniform3(0_u32..40),
        rest in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut bytes = MAGIC.to_vec();
        bytes.push(number);
        for cost in costs {
            bytes.extend_from_slice(&cost.to_le_bytes());
        }
        bytes.extend_from_slice(&rest);
        prop_assert!(open(PASSWORD, &bytes).is_err());
        let cut = bytes.len() / 2;
        prop_assert!(open(PASSWORD, &bytes[..cut]).is_err());
    }

    #[test]
    fn one_changed_bit_or_missing_byte_of_the_second_form_is_noticed(at in 0_usize..89, bit in 0_u8..8) {
        let bytes = Forms::default().close(&key(PASSWORD), cheap(), &secrets()).unwrap();
        prop_assert_eq!(bytes.len(), 89);
        // Costs within the bounds but far above the cheap ones would only make the test slow.
        prop_assume!(!(12..24).contains(&at) || bit < 3 && at % 4 == 0);
        let mut changed = bytes.clone();
        changed[at] ^= 1 << bit;
        prop_assert!(open(PASSWORD, &changed).is_err());
        let mut cut = bytes;
        cut.remove(at);
        prop_assert!(open(PASSWORD, &cut).is_err());
    }

    #[test]
    fn what_is_written_in_either_form_is_read_back(
        secrets in prop::collection::btree_map(".{1,12}", ".{0,40}", 0..6),
        slow in any::<bool>(),
    ) {
        let secrets: SecretMap = secrets
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        let form = if slow { cheap() } else { Form::One };
        let bytes = Forms::default().close(&key(PASSWORD), form, &secrets).unwrap();
        prop_assert!(open(PASSWORD, &bytes).unwrap().holds_the_same_as(&secrets));
    }
}
