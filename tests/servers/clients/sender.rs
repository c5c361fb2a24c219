//! Sends a sync as Rust's `celery` does: `sender URL QUEUE ORGANIZATION`.

use celery::prelude::*;

#[celery::task(name = "backmarket.sync_orders")]
fn sync_orders(organization_id: String) -> TaskResult<()> {
    let _ = organization_id;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let app = celery::app!(
        broker = RedisBroker { arguments[1].clone() },
        tasks = [sync_orders],
        task_routes = ["*" => &arguments[2]],
    ).await?;
    app.send_task(sync_orders::new(arguments[3].clone())).await?;
    app.close().await?;
    Ok(())
}
