use super::item::{self, Item, s};
use super::{DynamoMail, port_error};
use crate::domain::id::{CampaignId, NewsletterId, Tenant};
use crate::ports::{CampaignList, PortError, Whose};
use async_trait::async_trait;
use futures::future::try_join;

fn list_pk(whose: Whose<'_>) -> String {
    match whose {
        Whose::Tenant(tenant) => format!("CMPS#TENANT#{tenant}"),
        Whose::Newsletter(newsletter) => format!("CMPS#NL#{newsletter}"),
    }
}

impl DynamoMail {
    async fn list_one(&self, whose: Whose<'_>, id: &CampaignId) -> Result<(), PortError> {
        let item = Item::from([("pk".into(), s(list_pk(whose))), ("sk".into(), s(id.as_str()))]);
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map(drop).map_err(port_error)
    }
}

#[async_trait]
impl CampaignList for DynamoMail {
    async fn list(&self, tenant: &Tenant, newsletter: &NewsletterId, id: &CampaignId) -> Result<(), PortError> {
        let both = (self.list_one(Whose::Tenant(tenant), id), self.list_one(Whose::Newsletter(newsletter), id));
        try_join(both.0, both.1).await.map(drop)
    }

    async fn newest(
        &self,
        whose: Whose<'_>,
        before: Option<&CampaignId>,
        limit: usize,
    ) -> Result<Vec<CampaignId>, PortError> {
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .expression_attribute_values(":pk", s(list_pk(whose)));
        query = match before {
            Some(before) => query
                .key_condition_expression("pk = :pk AND sk < :before")
                .expression_attribute_values(":before", s(before.as_str())),
            None => query.key_condition_expression("pk = :pk"),
        };
        // Entries are small: one answer holds far more than anybody asks for.
        let answer = query.send().await.map_err(port_error)?;
        let id = |entry: &Item| CampaignId::parse(item::text(entry, "sk")?).map_err(|_| item::corrupt("sk"));
        answer.items().iter().map(id).collect()
    }
}
