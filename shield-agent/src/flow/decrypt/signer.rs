//! The worker's end of the signer's channel: questions go out numbered, answers find who asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite, ReadHalf};
use tokio::sync::{mpsc, oneshot};

use crate::ipc::frame;
use crate::ipc::signer::{LeafSigned, SignLeaf, SignRefused};

/// Questions that may be on their way.
const OUTSTANDING: usize = 256;

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum NotSigned {
    /// The signer said no.
    #[error("the signer refused")]
    Refused(#[from] SignRefused),
    /// The signer is gone.
    #[error("the signer does not answer: it stopped or died")]
    Gone,
}

/// A handle to the signer.
#[derive(Clone)]
pub struct Signer {
    questions: mpsc::Sender<(SignLeaf, Answer)>,
}

type Answer = oneshot::Sender<Result<Vec<u8>, SignRefused>>;

/// Who waits for which answer; `None` once the signer is gone.
#[derive(Clone)]
struct Waiting(Arc<Mutex<Option<HashMap<u64, Answer>>>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, Answer>>> {
        // Nothing panics while holding the lock, and a map is whole at every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signer {
    /// Talks to the signer over `channel` from tasks of its own.
    pub fn start(channel: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (questions, mut asked) = mpsc::channel::<(SignLeaf, Answer)>(OUTSTANDING);
        let (reader, mut writer) = tokio::io::split(channel);
        let waiting = Waiting(Arc::new(Mutex::new(Some(HashMap::new()))));
        tokio::spawn(read_answers(reader, waiting.clone()));
        tokio::spawn(async move {
            let mut last = 0;
            while let Some((mut question, answer)) = asked.recv().await {
                last += 1;
                question.id = last;
                let Some(()) = waiting.lock().as_mut().map(|map| drop(map.insert(last, answer))) else {
                    break;
                };
                if frame::write(&mut writer, &question).await.is_err() {
                    break;
                }
            }
            waiting.lock().take();
        });
        Self { questions }
    }

    /// Asks for a leaf; returns its DER.
    pub async fn sign(&self, name: &str, public_key: &[u8]) -> Result<Vec<u8>, NotSigned> {
        let (answer, answered) = oneshot::channel();
        let question = SignLeaf { id: 0, name: name.to_owned(), public_key: public_key.to_owned() };
        self.questions.send((question, answer)).await.map_err(|_| NotSigned::Gone)?;
        Ok(answered.await.map_err(|_| NotSigned::Gone)??)
    }
}

async fn read_answers<C: AsyncRead>(mut reader: ReadHalf<C>, waiting: Waiting) {
    loop {
        match frame::read::<LeafSigned>(&mut reader).await {
            Ok(LeafSigned { id, certificate }) => {
                let answer = waiting.lock().as_mut().and_then(|map| map.remove(&id));
                // Whoever asked may have hung up.
                let _ = answer.map(|answer| answer.send(certificate));
            }
            Err(error) => {
                tracing::error!(%error, "the signer's channel ended: no new host can be served");
                waiting.lock().take();
                return;
            }
        }
    }
}
