//! Small variants, stored in the index of the blob.

use super::*;

const FORMS: [Form; 3] = Form::ALL;

async fn stored(harness: &InAFolder, lengths: [usize; 3]) -> (Digest, [Bytes; 3]) {
    let bytes = sample(1, 100);
    let digest = Digest::of(&bytes);
    harness.store.put(blob(&bytes), bytes).await.unwrap();
    let contents = lengths.map(|length| sample(length as u64, length));
    let variants = FORMS.into_iter().zip(contents.clone()).map(|(form, bytes)| (form, Quality::Quick, bytes));
    harness.store.put_variants(digest, variants.collect()).await.unwrap();
    (digest, contents)
}

fn index_of(harness: &InAFolder, digest: Digest) -> PathBuf {
    path_of(harness.data.path(), Key::Variant(digest, Form::Br)).with_extension("index")
}

#[tokio::test]
async fn a_blob_with_small_variants_is_two_files() {
    let harness = InAFolder::start().await;
    let (digest, [br, gz, zst]) = stored(&harness, [300, 8_192, 8_193]).await;
    let hex = digest.to_string();
    let two = &hex[..2];
    let expected = ["index", "zst"].map(|suffix| format!("{two}/{hex}.{suffix}"));
    assert_eq!(files(&harness.data.path().join("variants")), expected.into());
    let line =
        |form: &str, bytes: &Bytes, end: &str| format!("{form} {} {} quick{end}\n", bytes.len(), Digest::of(bytes));
    let text = [line("br", &br, " here"), line("gz", &gz, " here"), line("zst", &zst, ""), "\n".to_owned()].concat();
    assert_eq!(std::fs::read(index_of(&harness, digest)).unwrap(), [text.as_bytes(), &br, &gz].concat());
}

#[tokio::test]
async fn an_index_of_an_earlier_release_is_read_and_its_files_go_when_they_are_replaced() {
    let harness = InAFolder::start().await;
    let (digest, [br, gz, _]) = stored(&harness, [9_000, 9_001, 9_002]).await;
    // Such an index has small variants in separate files.
    let small = sample(7, 50);
    durable::write_file(&path_of(harness.data.path(), Key::Variant(digest, Form::Zst)), &small, 0o600).unwrap();
    let line = |form: &str, bytes: &Bytes| format!("{form} {} {} quick\n", bytes.len(), Digest::of(bytes));
    let text = [line("br", &br), line("gz", &gz), line("zst", &small)].concat();
    durable::write_file(&index_of(&harness, digest), text.as_bytes(), 0o600).unwrap();
    assert_eq!(harness.store.variants(digest).await.unwrap().len(), 3);
    assert_eq!(harness.store.get(Key::Variant(digest, Form::Zst)).await.unwrap(), small);
    let better = sample(8, 40);
    harness.store.put_variants(digest, vec![(Form::Zst, Quality::Best, better.clone())]).await.unwrap();
    assert_eq!(harness.store.get(Key::Variant(digest, Form::Zst)).await.unwrap(), better);
    assert_eq!(harness.store.get(Key::Variant(digest, Form::Br)).await.unwrap(), br);
    assert!(!path_of(harness.data.path(), Key::Variant(digest, Form::Zst)).exists());
}

#[tokio::test]
async fn of_small_and_large_variants_each_goes_alone() {
    for gone in FORMS {
        let harness = InAFolder::start().await;
        let (digest, contents) = stored(&harness, [300, 400, 9_000]).await;
        harness.store.delete(Key::Variant(digest, gone)).await.unwrap();
        let left: Vec<Form> = harness.store.variants(digest).await.unwrap().iter().map(|info| info.form).collect();
        assert!(left.len() == 2 && !left.contains(&gone), "{left:?} without {gone:?}");
        for (form, bytes) in FORMS.into_iter().zip(contents) {
            match harness.store.get(Key::Variant(digest, form)).await {
                Ok(found) => assert!(form != gone && found == bytes),
                Err(error) => assert!(form == gone && matches!(error, Error::Missing(_)), "{error}"),
            }
        }
        let large = path_of(harness.data.path(), Key::Variant(digest, Form::Zst));
        assert_eq!(large.exists(), gone != Form::Zst);
    }
}

#[tokio::test]
async fn law_4_damage_in_an_index_is_never_given_out_and_all_is_made_again() {
    for at in [0, 5, 300, 500] {
        let harness = InAFolder::start().await;
        let (digest, contents) = stored(&harness, [100, 200, 9_000]).await;
        let path = index_of(&harness, digest);
        let mut index = std::fs::read(&path).unwrap();
        index[at] ^= 1;
        overwrite(&path, &index);
        for variant in &harness.store.variants_all(vec![digest]).await.unwrap()[0] {
            let number = FORMS.iter().position(|form| *form == variant.info.form).unwrap();
            assert!(variant.bytes.as_ref().is_none_or(|bytes| *bytes == contents[number]), "{at}");
        }
        for (form, bytes) in FORMS.into_iter().zip(&contents) {
            match harness.store.get(Key::Variant(digest, form)).await {
                Ok(found) => assert_eq!(found, *bytes, "{at}"),
                Err(error) => assert!(matches!(error, Error::Corrupt { .. } | Error::Missing(_)), "{at}: {error}"),
            }
        }
        assert!(harness.store.lacks_variants(digest).await.unwrap(), "{at}");
        let again = FORMS.into_iter().zip(contents.clone()).map(|(form, bytes)| (form, Quality::Quick, bytes));
        harness.store.put_variants(digest, again.collect()).await.unwrap();
        for (form, bytes) in FORMS.into_iter().zip(&contents) {
            assert_eq!(harness.store.get(Key::Variant(digest, form)).await.unwrap(), *bytes);
        }
    }
}

#[tokio::test]
async fn a_small_variant_that_is_open_stays_readable_and_is_damaged_when_it_changes() {
    let harness = InAFolder::start().await;
    let (digest, [br, gz, _]) = stored(&harness, [1_000, 2_000, 9_000]).await;
    let open = harness.store.open(Key::Variant(digest, Form::Gz)).await.unwrap();
    harness.store.put_variants(digest, vec![(Form::Gz, Quality::Best, sample(3, 10))]).await.unwrap();
    assert_eq!((open.size(), open.read_at(0, 5_000).unwrap()), (2_000, gz));
    let open = harness.store.open(Key::Variant(digest, Form::Br)).await.unwrap();
    assert_eq!(open.read_at(10, 5_000).unwrap(), br[10..]);
    let path = index_of(&harness, digest);
    let bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(br.len()).position(|part| *part == *br).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[br[0] ^ 1], at as u64).unwrap();
    assert_eq!(open.read_at(0, 5_000).unwrap_err().kind(), ErrorKind::InvalidData);
    assert!(open.is_damaged() && !path.exists());
    let quarantined = files(&harness.data.path().join("quarantine"));
    assert_eq!(quarantined, [format!("variant-{digest}.index")].into());
}

/// Returns variants in the form of a search: by their forms and hashes.
fn sought(contents: &[Bytes; 3], numbers: &[usize]) -> Vec<(Form, Digest)> {
    numbers.iter().map(|number| (FORMS[*number], Digest::of(&contents[*number]))).collect()
}

#[tokio::test]
async fn small_variants_are_opened_as_one_file_that_stays_readable_when_one_of_them_is_replaced() {
    let harness = InAFolder::start().await;
    let (digest, contents) = stored(&harness, [1_000, 2_000, 300]).await;
    let mut opened = Vec::new();
    for numbers in [&[0, 1, 2][..], &[2, 0], &[1]] {
        let together = harness.store.open_together(digest, sought(&contents, numbers)).await.unwrap();
        opened.push((numbers, together.unwrap()));
    }
    harness.store.put_variants(digest, vec![(Form::Gz, Quality::Best, sample(3, 10))]).await.unwrap();
    for (numbers, (file, begins)) in &opened {
        for (number, begin) in numbers.iter().zip(begins) {
            assert_eq!(file.read_at(*begin, contents[*number].len()).unwrap(), contents[*number], "{numbers:?}");
        }
    }
    let again = async |numbers: &[usize]| {
        let together = harness.store.open_together(digest, sought(&contents, numbers)).await.unwrap();
        together.is_some()
    };
    assert!(!again(&[0, 1]).await, "one of them is another one by now");
    assert!(again(&[0, 2]).await);
}

#[tokio::test]
async fn variants_that_stand_elsewhere_or_nowhere_are_opened_alone() {
    let harness = InAFolder::start().await;
    let (digest, contents) = stored(&harness, [100, 200, 9_000]).await;
    let opened = async |blob: Digest, numbers: &[usize]| {
        let together = harness.store.open_together(blob, sought(&contents, numbers)).await.unwrap();
        together.is_some()
    };
    assert!(opened(digest, &[0, 1]).await);
    assert!(!opened(digest, &[0, 2]).await && !opened(digest, &[]).await);
    assert!(!opened(Digest::of(b"none"), &[0, 1]).await);
}

#[tokio::test]
async fn law_4_damage_in_variants_that_are_opened_as_one_is_never_given_out_and_all_are_made_again() {
    for is_open in [true, false] {
        let harness = InAFolder::start().await;
        let (digest, contents) = stored(&harness, [1_000, 2_000, 300]).await;
        let open = async || harness.store.open_together(digest, sought(&contents, &[0, 1, 2])).await.unwrap();
        let before = if is_open { open().await } else { None };
        let path = index_of(&harness, digest);
        let mut index = std::fs::read(&path).unwrap();
        *index.last_mut().unwrap() ^= 1;
        overwrite(&path, &index);
        match before {
            Some((file, begins)) => {
                assert_eq!(file.read_at(begins[0], 10).unwrap_err().kind(), ErrorKind::InvalidData);
                assert!(file.is_damaged() && harness.store.lacks_variants(digest).await.unwrap());
            }
            None => assert!(open().await.is_none()),
        }
    }
}

/// Otherwise a file would be sent uncompressed to all visitors, for as long as a version has the file.
#[tokio::test]
async fn a_small_variant_that_is_damaged_is_missed_and_made_again_whatever_becomes_of_the_others() {
    for is_deletion in [true, false] {
        let harness = InAFolder::start().await;
        let (digest, [br, _, zst]) = stored(&harness, [300, 400, 500]).await;
        let (store, path) = (&harness.store, index_of(&harness, digest));
        let mut index = std::fs::read(&path).unwrap();
        let at = index.windows(br.len()).position(|part| *part == *br).unwrap();
        index[at] ^= 1;
        overwrite(&path, &index);
        let (better, mut left) = (sample(7, 350), vec![Form::Zst]);
        match is_deletion {
            true => store.delete(Key::Variant(digest, Form::Gz)).await.unwrap(),
            false => {
                store.put_variants(digest, vec![(Form::Gz, Quality::Best, better.clone())]).await.unwrap();
                left.insert(0, Form::Gz);
            }
        }
        let forms = |all: Vec<VariantInfo>| all.iter().map(|info| info.form).collect::<Vec<_>>();
        assert_eq!(forms(store.variants(digest).await.unwrap()), left, "deletion: {is_deletion}");
        assert!(store.lacks_variants(digest).await.unwrap(), "deletion: {is_deletion}");
        store.put_variants(digest, vec![(Form::Br, Quality::Quick, br.clone())]).await.unwrap();
        assert!(!store.lacks_variants(digest).await.unwrap(), "deletion: {is_deletion}");
        assert_eq!(store.get(Key::Variant(digest, Form::Br)).await.unwrap(), br);
        assert_eq!(store.get(Key::Variant(digest, Form::Zst)).await.unwrap(), zst);
        if !is_deletion {
            assert_eq!(store.get(Key::Variant(digest, Form::Gz)).await.unwrap(), better);
        }
    }
}
