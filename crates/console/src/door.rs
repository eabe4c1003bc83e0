//! Other systems' doors to the same destinations: their paths, shapes, texts and statuses. What they
//! ask for is put into our terms, and done by `service`.

pub(crate) mod helicone;

pub(crate) mod openrouter;
