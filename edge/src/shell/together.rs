//! Work that is done once for all who wait for it at the same time.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use futures_util::future::{FutureExt as _, LocalBoxFuture, Shared};

/// Work of one kind, if some is under way.
#[derive(Default)]
pub(super) struct Together<T: Clone>(Rc<RefCell<Option<Shared<LocalBoxFuture<'static, T>>>>>);

impl<T: Clone + 'static> Together<T> {
    /// What is under way; else `work`, which is from then on.
    pub(super) fn join(&self, work: impl Future<Output = T> + 'static) -> Shared<LocalBoxFuture<'static, T>> {
        if let Some(under_way) = &*self.0.borrow() {
            return under_way.clone();
        }
        let this = Rc::clone(&self.0);
        let work = async move {
            let done = work.await;
            *this.borrow_mut() = None;
            done
        };
        let work = work.boxed_local().shared();
        *self.0.borrow_mut() = Some(work.clone());
        work
    }
}
