//! Where bytes are kept: a directory, or an S3-compatible store.

use std::{ops::Range, os::unix::fs::DirBuilderExt, path::Path, sync::Arc};

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt, aws::AmazonS3Builder, local::LocalFileSystem, path::Path as Key,
    prefix::PrefixStore,
};
use url::Url;

use crate::{
    config,
    ids::{FileId, TenantId},
};

/// A media store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vault(Arc<dyn ObjectStore>);

impl Vault {
    /// The store of the settings; by default `media/` in the data directory.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(settings: &config::Media, data_dir: &Path) -> anyhow::Result<Self> {
        if settings.store.is_empty() {
            let dir = data_dir.join("media");
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            // What a row calls stored must survive a power cut, as the row does.
            return Ok(Self(Arc::new(LocalFileSystem::new_with_prefix(dir)?.with_fsync(true))));
        }
        let url = Url::parse(&settings.store)?;
        let bucket = url.host_str().filter(|_| url.scheme() == "s3");
        let bucket = bucket.ok_or_else(|| anyhow::anyhow!("media.store must be empty or s3://bucket/prefix"))?;
        // Whoever comes second finds the same provider already there.
        rustls::crypto::ring::default_provider().install_default().ok();
        // Keys may also come from the environment or the machine's role, as with any tool of AWS's.
        // We delete one at a time; not every compatible store knows how to delete many.
        let s3 = AmazonS3Builder::from_env().with_bucket_name(bucket).with_region(&settings.s3_region);
        let mut s3 = s3.with_disable_bulk_delete(true);
        if !settings.s3_endpoint.is_empty() {
            s3 = s3.with_endpoint(&settings.s3_endpoint).with_allow_http(settings.s3_endpoint.starts_with("http://"));
        }
        if !settings.s3_access_key_id.is_empty() {
            s3 = s3
                .with_access_key_id(&settings.s3_access_key_id)
                .with_secret_access_key(settings.s3_secret_access_key.expose());
        }
        Ok(Self(Arc::new(PrefixStore::new(s3.build()?, url.path()))))
    }

    /// Keeps a file's bytes; the second time it replaces them.
    ///
    /// # Errors
    /// The store's, as everywhere in this file.
    pub async fn put(&self, tenant: TenantId, file: FileId, bytes: Bytes) -> object_store::Result<()> {
        self.0.put(&key(tenant, file), bytes.into()).await.map(drop)
    }

    /// All bytes of a file.
    pub async fn get(&self, tenant: TenantId, file: FileId) -> object_store::Result<Bytes> {
        self.0.get(&key(tenant, file)).await?.bytes().await
    }

    /// A part of a file, or all of it, as a stream.
    pub async fn stream(
        &self,
        tenant: TenantId,
        file: FileId,
        range: Option<Range<u64>>,
    ) -> object_store::Result<BoxStream<'static, object_store::Result<Bytes>>> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        Ok(self.0.get_opts(&key(tenant, file), options).await?.into_stream())
    }

    /// Forgets a file; one that is gone already is fine.
    pub async fn delete(&self, tenant: TenantId, file: FileId) -> object_store::Result<()> {
        match self.0.delete(&key(tenant, file)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn key(tenant: TenantId, file: FileId) -> Key {
    Key::from(format!("{tenant}/{file}"))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::{Mutex, PoisonError},
    };

    use axum::{
        body::to_bytes,
        extract::Request,
        http::{Method, StatusCode, header, request::Parts},
        response::{IntoResponse, Response},
    };
    use futures::TryStreamExt;
    use uuid::Uuid;

    use super::*;
    use crate::secret::Secret;

    /// Keeps, gives, gives a part, replaces, forgets.
    async fn check(vault: &Vault) {
        let (tenant, file) = (TenantId(Uuid::from_u128(1)), FileId(Uuid::from_u128(2)));
        assert!(matches!(vault.get(tenant, file).await, Err(object_store::Error::NotFound { .. })));
        vault.put(tenant, file, Bytes::from_static(b"first")).await.unwrap();
        vault.put(tenant, file, Bytes::from_static(b"0123456789")).await.unwrap();
        assert_eq!(vault.get(tenant, file).await.unwrap(), "0123456789");
        let part: Vec<Bytes> = vault.stream(tenant, file, Some(2..5)).await.unwrap().try_collect().await.unwrap();
        assert_eq!(part.concat(), b"234");
        assert!(vault.get(TenantId(file.0), file).await.is_err(), "another tenant's");
        vault.delete(tenant, file).await.unwrap();
        vault.delete(tenant, file).await.unwrap();
        assert!(vault.get(tenant, file).await.is_err());
    }

    fn settings(store: &str, s3_endpoint: String) -> config::Media {
        config::Media {
            store: store.to_owned(),
            s3_endpoint,
            s3_region: "eu-central-1".to_owned(),
            s3_access_key_id: "access".to_owned(),
            s3_secret_access_key: Secret::new("secret"),
            hosts: String::new(),
            max_mib: 1,
            fetch_s: 1,
            link_hours: 1,
        }
    }

    #[tokio::test]
    async fn a_directory_keeps_files() {
        let dir = std::env::temp_dir().join(format!("chatgate-vault-{}", std::process::id()));
        check(&Vault::open(&settings("", String::new()), &dir).unwrap()).await;
        std::fs::remove_dir_all(dir).unwrap();
    }

    type Files = Arc<Mutex<HashMap<String, Bytes>>>;

    async fn s3(files: Files, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        answer(&files, &parts, body)
    }

    /// A store of the S3 kind, as far as we speak to one.
    fn answer(files: &Files, parts: &Parts, body: Bytes) -> Response {
        let header = |name| parts.headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
        let is_signed =
            header(header::AUTHORIZATION).is_some_and(|it| it.starts_with("AWS4-HMAC-SHA256 Credential=access/"));
        if !is_signed {
            return StatusCode::FORBIDDEN.into_response();
        }
        let (method, path, range) = (parts.method.clone(), parts.uri.path().to_owned(), header(header::RANGE));
        let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            [(header::ETAG, "\"1\"".to_owned()), (header::LAST_MODIFIED, "Sat, 21 Nov 2026 10:00:00 GMT".to_owned())];
        match (method, files.get(&path).cloned()) {
            (Method::PUT, _) => {
                files.insert(path, body);
                known.into_response()
            }
            (Method::DELETE, _) => {
                files.remove(&path);
                StatusCode::NO_CONTENT.into_response()
            }
            (_, None) => StatusCode::NOT_FOUND.into_response(),
            (_, Some(bytes)) => match range.as_deref() {
                Some("bytes=2-4") => {
                    let part = [(header::CONTENT_RANGE, format!("bytes 2-4/{}", bytes.len()))];
                    (StatusCode::PARTIAL_CONTENT, known, part, bytes.slice(2..5)).into_response()
                }
                _ => (known, bytes).into_response(),
            },
        }
    }

    #[tokio::test]
    async fn an_s3_store_keeps_files() {
        let files = Files::default();
        let app = axum::Router::new().fallback({
            let files = Arc::clone(&files);
            move |request: Request| s3(Arc::clone(&files), request)
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        let vault = Vault::open(&settings("s3://bucket/chat", endpoint.clone()), Path::new("/nowhere")).unwrap();
        check(&vault).await;
        let (tenant, file) = (TenantId(Uuid::from_u128(1)), FileId(Uuid::from_u128(3)));
        vault.put(tenant, file, Bytes::from_static(b"x")).await.unwrap();
        let path = format!("/bucket/chat/{tenant}/{file}");
        assert!(files.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&path));
        assert!(Vault::open(&settings("gs://bucket", endpoint), Path::new("/nowhere")).is_err());
        serving.abort();
    }
}
